-- 17_control_checks.sql
--		What data policies, budgets and kill switches must be.
--
-- As 15_configuration_checks.sql, whose helpers it uses.

-- ── data_policies ───────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._forbids(column_name text) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_forbids';
REVOKE ALL ON FUNCTION agentpay._forbids(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._forbids(text) IS 'whether a column of that name holds card verification values, track data or PIN blocks, which are withheld whatever the policy is';

CREATE FUNCTION agentpay._hash_key_problem() RETURNS text
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_hash_key_problem';
REVOKE ALL ON FUNCTION agentpay._hash_key_problem() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._hash_key_problem() IS 'why values cannot be hashed; NULL when there is a key';

-- NULL, or what options must be.
CREATE FUNCTION agentpay._bucket_problem(options jsonb, column_type regtype)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	bounds jsonb := options -> 'bounds';
	numbers constant regtype[] := '{smallint,integer,bigint,numeric,real,double precision}';
	times constant regtype[] := '{date,timestamp,timestamptz}';
BEGIN
	IF column_type = ANY (numbers) THEN
		IF options - 'bounds' <> '{}' OR jsonb_typeof(bounds) IS DISTINCT FROM 'array'
		   OR jsonb_array_length(bounds) NOT BETWEEN 1 AND 64
		   OR EXISTS (SELECT FROM jsonb_array_elements(bounds) AS b (bound)
					   WHERE jsonb_typeof(b.bound) <> 'number'
						  OR length(b.bound::text) > 40)
		   OR NOT (SELECT bool_and(o.before IS NULL OR o.before < o.bound)
					 FROM (SELECT b.bound::numeric,
								  lag(b.bound::numeric) OVER (ORDER BY b.ord)
									  AS before
							 FROM jsonb_array_elements(bounds)
								  WITH ORDINALITY AS b (bound, ord)) AS o) THEN
			RETURN 'Bucket of a number takes bounds: 1 to 64 numbers that rise, of at most 40 characters.';
		END IF;
		RETURN NULL;
	ELSIF column_type = ANY (times) THEN
		IF options - 'width' = '{}'
		   AND (options -> 'width' <@ '["day", "month", "year"]'
				OR options -> 'width' = '"hour"'
				   AND column_type <> 'date'::regtype) THEN
			RETURN NULL;
		END IF;
		RETURN 'Bucket of a time takes width: hour (not of a date), day, month or year.';
	END IF;
	RETURN format('Numbers and times can be bucketed; the column is of type %s.', column_type);
END$$;
REVOKE ALL ON FUNCTION agentpay._bucket_problem(jsonb, regtype) FROM PUBLIC;

-- NULL, or what the options of a treatment must be.
CREATE FUNCTION agentpay._policy_options_problem(policy agentpay.data_policies,
	column_type regtype) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kept text := policy.options -> 'keep_last';
BEGIN
	IF jsonb_typeof(policy.options) IS DISTINCT FROM 'object' THEN
		RETURN 'Options are a JSON object.';
	ELSIF policy.treatment = 'bucket' THEN
		RETURN agentpay._bucket_problem(policy.options, column_type);
	ELSIF policy.treatment = 'mask' THEN
		IF policy.options - 'keep_last' <> '{}'
		   OR kept !~ '^[0-9]{1,3}$'
		   OR policy.class = 'pci' AND kept !~ '^[0-4]$' THEN
			RETURN 'Mask has one: keep_last, the characters at the end that stay, 0 to 999; of class pci at most 4.';
		END IF;
	ELSIF policy.treatment = 'tokenise' THEN
		IF policy.options - 'format' <> '{}'
		   OR policy.options -> 'format' <> '"ff1"' THEN
			RETURN 'Tokenise has one: format "ff1", by which 6 to 36 digits become as many digits.';
		END IF;
	ELSIF policy.options <> '{}' THEN
		RETURN format('Treatment %s has none; mask has keep_last, bucket has bounds or width, tokenise has format.', policy.treatment);
	END IF;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._policy_options_problem(agentpay.data_policies,
	regtype) FROM PUBLIC;

-- Options of that treatment that would do for a column of that type.
CREATE FUNCTION agentpay._policy_options_example(treatment text,
	column_type regtype) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN treatment = 'mask' THEN $o$options '{"keep_last": 4}'$o$
		WHEN treatment <> 'bucket' THEN $o$options '{}'$o$
		WHEN column_type = ANY ('{date,timestamp,timestamptz}'::regtype[])
		THEN $o$options '{"width": "day"}'$o$
		WHEN column_type = ANY ('{smallint,integer,bigint,numeric,real,double precision}'::regtype[])
		THEN $o$options '{"bounds": [10, 100, 1000]}'$o$
		ELSE $o$treatment 'mask' and options '{}'$o$ END
$$;
REVOKE ALL ON FUNCTION agentpay._policy_options_example(text, regtype)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_data_policies() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text;
	column_type regtype;
	problem text;
BEGIN
	IF agentpay._restoring() THEN
		RETURN NEW;
	END IF;
	PERFORM agentpay._check_table(NEW.table_name, 'a data policy');
	column_type := agentpay._column_type(NEW.table_name, NEW.column_name,
										 'column_name');
	mend := format('Use %%s for column "%s" of %s.',
				   replace(NEW.column_name, '%', '%%'),
				   replace(NEW.table_name::text, '%', '%%'));
	IF NEW.class IS NULL OR NEW.class <> ALL ('{pii,pci,financial,free_text,public}') THEN
		PERFORM agentpay._refuse('23514', format('unknown class: %s',
				coalesce(quote_literal(NEW.class), 'NULL')),
			'Classes are pii, pci, financial, free_text and public.',
			format(mend, 'class ''pii'''));
	ELSIF NEW.treatment IS NULL
		OR NEW.treatment <> ALL ('{pass,mask,tokenise,hash,bucket,drop}') THEN
		PERFORM agentpay._refuse('23514', format('unknown treatment: %s',
				coalesce(quote_literal(NEW.treatment), 'NULL')),
			'Treatments are pass, mask, tokenise, hash, bucket and drop.',
			format(mend, 'treatment ''mask'''));
	ELSIF agentpay._forbids(NEW.column_name) AND NEW.treatment <> 'drop' THEN
		PERFORM agentpay._refuse('22023', format(
				'column "%s" can only be dropped', NEW.column_name),
			'Card verification values, track data and PIN blocks may not be kept once a payment is authorised, in no form.',
			format(mend, 'treatment ''drop'''));
	ELSIF NEW.class = 'pci' AND NEW.treatment IN ('pass', 'bucket') THEN
		PERFORM agentpay._refuse('22023', CASE NEW.treatment WHEN 'pass'
				THEN 'card data cannot pass in clear'
				ELSE 'card data cannot be bucketed' END,
			'Class pci is for card numbers; at most the last four digits may be shown.',
			format(mend, 'treatment ''mask'', options ''{"keep_last": 4}'''));
	END IF;
	problem := agentpay._policy_options_problem(NEW, column_type);
	IF problem IS NOT NULL THEN
		PERFORM agentpay._refuse('22023',
			format('invalid options of treatment %s: %s', NEW.treatment,
				   NEW.options), problem,
			format(mend, agentpay._policy_options_example(NEW.treatment,
														  column_type)));
	END IF;
	problem := CASE NEW.treatment WHEN 'hash'
		THEN agentpay._hash_key_problem() END;
	IF problem IS NOT NULL THEN
		PERFORM agentpay._refuse('55000',
			'treatment hash needs a key: ' || problem,
			'Values are hashed under a key that is not in the database: 32 random bytes or more, in a file that only the server''s user can read.',
			'Run: ALTER SYSTEM SET agentpay.hash_key = ''file:/etc/agentpay/hash_key''; SELECT pg_reload_conf(); where the file is what openssl rand -hex 32 prints.');
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_data_policies() FROM PUBLIC;

-- ── exchange_rates ──────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_exchange_rates() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	example constant text := 'INSERT INTO agentpay.exchange_rates (base, currency, valid_from, rate) VALUES (''USD'', ''EUR'', ''2026-01-01'', 1.08);';
	code text;
BEGIN
	IF agentpay._restoring() THEN
		RETURN NEW;
	END IF;
	FOREACH code IN ARRAY ARRAY[NEW.base, NEW.currency] LOOP
		IF code IS NULL OR code !~ '^[A-Z]{3}$' THEN
			PERFORM agentpay._refuse('22023', format(
					'not a currency code: %s',
					coalesce(quote_literal(code), 'NULL')),
				'A code has three capital letters (ISO 4217).',
				example);
		END IF;
	END LOOP;
	IF NEW.base = NEW.currency THEN
		PERFORM agentpay._refuse('22023',
			format('a rate from %s to itself', NEW.base),
			'An amount in the base currency is its own base_amount.',
			example);
	ELSIF NEW.valid_from IS NULL OR NOT isfinite(NEW.valid_from) THEN
		PERFORM agentpay._refuse('22008', 'valid_from must be a day',
			'The rate holds from that day until the next row''s.',
			example);
	END IF;
	-- far beyond any pair of currencies; an amount times it stays a number
	PERFORM agentpay._check_range('rate', NEW.rate, 1e-12, 1e12,
		'It is what one unit of currency is worth in the base currency, such as 1.08.');
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_exchange_rates() FROM PUBLIC;

-- ── budgets ─────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_budget_target(b agentpay.budgets)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	targets text;
BEGIN
	IF (b.scope = 'all') IS DISTINCT FROM (b.target = '*') THEN
		PERFORM agentpay._refuse('23514', format(
				'budget "%s" of scope %s cannot have target %s', b.name,
				b.scope, coalesce(quote_literal(b.target), 'NULL')),
			'The target is what the scope names; ''*'' is for scope all only.',
			'Use scope ''all'' and target ''*''.');
	END IF;
	targets := CASE b.scope
		WHEN 'role' THEN 'fraud, routing, reconciliation, dispute'
		WHEN 'point' THEN (SELECT string_agg(point, ', ' ORDER BY point)
							 FROM agentpay.decision_points)
		WHEN 'agent' THEN (SELECT string_agg(name, ', ' ORDER BY name)
							 FROM agentpay.agents) END;
	IF b.scope IN ('role', 'point', 'agent')
	   AND b.target <> ALL (coalesce(string_to_array(targets, ', '), '{}'))
	THEN
		PERFORM agentpay._refuse('42704',
			format('unknown %s: %L', b.scope, b.target),
			CASE WHEN targets IS NULL THEN format('There is no %s yet.', b.scope)
			ELSE format('It is one of %s.', targets) END,
			CASE b.scope
			WHEN 'agent' THEN format('INSERT INTO agentpay.agents (name, ...) VALUES (%L, ...); first.', b.target)
			WHEN 'point' THEN format('SELECT agentpay.attach(..., point => %L, ...); first.', b.target)
			ELSE 'Use target ''fraud'', for example.' END);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_budget_target(agentpay.budgets)
	FROM PUBLIC;

-- All but its target.  old_name: NULL for a new one.
CREATE FUNCTION agentpay._check_budget(old_name text, b agentpay.budgets,
	mend text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._check_name('budget', old_name, b.name);
	IF b.scope IS NULL OR b.scope <> ALL ('{all,role,point,agent,cost_center}') THEN
		PERFORM agentpay._refuse('23514', format('unknown scope: %s',
				coalesce(quote_literal(b.scope), 'NULL')),
			'Scopes are all, role, point, agent and cost_center.',
			format(mend, 'scope = ''all'', target = ''*'''));
	ELSIF b.period IS NULL OR b.period <> ALL ('{transaction,minute,hour,day,month}') THEN
		PERFORM agentpay._refuse('23514', format('unknown period: %s',
				coalesce(quote_literal(b.period), 'NULL')),
			'Periods are transaction, minute, hour, day and month (30 days).',
			format(mend, 'period = ''hour'''));
	ELSIF num_nonnulls(b.cap_cost, b.cap_calls) = 0 THEN
		PERFORM agentpay._refuse('23514',
			format('budget "%s" has no cap', b.name),
			'It caps cost in USD, calls, or both.',
			format(mend, 'cap_cost = 5'));
	ELSIF b.on_exhausted IS NULL OR b.on_exhausted <> ALL ('{fallback,wait,kill}') THEN
		PERFORM agentpay._refuse('23514', format('unknown on_exhausted: %s',
				coalesce(quote_literal(b.on_exhausted), 'NULL')),
			'It is fallback, wait or kill.',
			format(mend, 'on_exhausted = ''fallback'''));
	END IF;
	PERFORM agentpay._check_range('cap_cost', b.cap_cost, 0, 1e9,
								  format(mend, 'cap_cost = 5'));
	PERFORM agentpay._check_range('cap_calls', b.cap_calls, 0, NULL,
								  format(mend, 'cap_calls = 1000'));
	PERFORM agentpay._check_range('alert_percent', b.alert_percent, 0, 100,
								  format(mend, 'alert_percent = 80'));
END$$;
REVOKE ALL ON FUNCTION agentpay._check_budget(text, agentpay.budgets, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_budgets() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text := CASE TG_OP WHEN 'UPDATE'
		THEN format('UPDATE agentpay.budgets SET %%s WHERE name = %L;',
					OLD.name)
		ELSE 'In the INSERT, use %s.' END;
BEGIN
	IF agentpay._restoring() THEN
		RETURN NEW;
	END IF;
	PERFORM agentpay._check_budget(OLD.name, NEW, mend);
	PERFORM agentpay._check_budget_target(NEW);
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_budgets() FROM PUBLIC;

-- AFTER: a cap that went may have been the only one of an agent that calls, as
-- agents are now, also for a transaction whose snapshot is older: its lock on
-- the budget came after theirs.
CREATE FUNCTION agentpay._check_all_caps() RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'agentpay_sql_check_all_caps';
REVOKE ALL ON FUNCTION agentpay._check_all_caps() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._check_all_caps() IS 'refuses if an agent that calls out has no cap, by a snapshot of now';

CREATE FUNCTION agentpay._check_caps_kept() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT agentpay._restoring() THEN
		PERFORM agentpay._check_all_caps();
	END IF;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_caps_kept() FROM PUBLIC;

-- ── kill_switches ───────────────────────────────────────────────────────────
-- Rows come and go with points and agents, by triggers (depth 2), of which others
-- may have some, too; people only UPDATE.  A dump brings changed rows, also of those that CREATE EXTENSION
-- made: while restoring, and only then, INSERT goes over them, since otherwise
-- INSERT ... ON CONFLICT DO UPDATE ... RETURNING would return nothing.
CREATE FUNCTION agentpay._check_kill_switches() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() THEN
		IF TG_OP = 'INSERT' THEN
			UPDATE agentpay.kill_switches k
			   SET engaged = NEW.engaged, reason = NEW.reason,
				   changed_by = NEW.changed_by, changed_at = NEW.changed_at
			 WHERE k.scope = NEW.scope AND k.target = NEW.target;
			IF FOUND THEN
				RETURN NULL;
			END IF;
		END IF;
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP <> 'UPDATE' AND pg_trigger_depth() = 1
	   OR (OLD.scope, OLD.target) <> (NEW.scope, NEW.target)
	   OR TG_OP = 'DELETE' AND (OLD.scope IN ('all', 'role')
			OR EXISTS (SELECT FROM agentpay.agents a
						WHERE OLD.scope = 'agent' AND a.name = OLD.target)
			OR EXISTS (SELECT FROM agentpay.decision_points p
						WHERE OLD.scope = 'point' AND p.point = OLD.target))
	THEN
		PERFORM agentpay._refuse('55000',
			'rows of agentpay.kill_switches come and go with points and agents',
			'Switches are ' || (
				SELECT string_agg(concat_ws(' ', k.scope,
						nullif(k.target, '*')), ', ' ORDER BY k.scope, k.target)
				  FROM agentpay.kill_switches k) || '.',
			coalesce((
				SELECT format('UPDATE agentpay.kill_switches SET engaged = true WHERE scope = %L AND target = %L RETURNING *;',
							  k.scope, k.target)
				  FROM agentpay.kill_switches k
				 WHERE (k.scope, k.target) IN ((OLD.scope, OLD.target),
						(NEW.scope, NEW.target)) LIMIT 1),
				'SELECT scope, target, engaged FROM agentpay.kill_switches;'));
	END IF;
	-- a drill opens again only what is engaged for its own sake
	IF TG_OP = 'UPDATE' AND NEW.engaged AND OLD.reason = 'kill drill'
	   AND NEW.reason = OLD.reason AND NOT agentpay._is_drill() THEN
		NEW.reason := NULL;
	END IF;
	IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE'
	   AND (OLD.engaged, OLD.reason)
		   IS DISTINCT FROM (NEW.engaged, NEW.reason) THEN
		NEW.changed_by := session_user;
		NEW.changed_at := agentpay._now();
	ELSIF TG_OP = 'UPDATE' THEN
		NEW.changed_by := OLD.changed_by;
		NEW.changed_at := OLD.changed_at;
	END IF;
	RETURN coalesce(NEW, OLD);
END$$;
REVOKE ALL ON FUNCTION agentpay._check_kill_switches() FROM PUBLIC;

-- AFTER a point or an agent (TG_ARGV[0]) came or went.
CREATE FUNCTION agentpay._keep_kill_switches() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() THEN
		RETURN NULL;
	END IF;
	IF TG_OP = 'INSERT' THEN
		INSERT INTO agentpay.kill_switches (scope, target)
		VALUES (TG_ARGV[0], to_jsonb(NEW) ->> TG_ARGV[1])
			ON CONFLICT DO NOTHING;
	ELSE
		DELETE FROM agentpay.kill_switches k
		 WHERE k.scope = TG_ARGV[0] AND k.target = to_jsonb(OLD) ->> TG_ARGV[1];
	END IF;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._keep_kill_switches() FROM PUBLIC;

-- ── guardrails ──────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_guardrails() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text;
BEGIN
	IF agentpay._restoring() THEN
		RETURN NEW;
	END IF;
	mend := format('UPDATE agentpay.guardrails SET %%s WHERE agent = %L AND metric = %L;',
				   NEW.agent, NEW.metric);
	IF NEW.agent <> '*' AND NOT EXISTS (
		SELECT FROM agentpay.agents a WHERE a.name = NEW.agent) THEN
		PERFORM agentpay._refuse('42704',
			format('there is no agent %L', NEW.agent),
			'A guardrail is of one agent, or of every agent: ''*''.',
			'SELECT name FROM agentpay.agents;');
	ELSIF NEW.metric IS NULL OR NEW.metric <> ALL ('{error_rate,timeout_rate,disagreement_rate,decline_rate,escalation_rate,p95_latency_ms,cost_per_decision,burn_rate,psi,ks}') THEN
		PERFORM agentpay._refuse('23514', format('unknown metric: %s',
				coalesce(quote_literal(NEW.metric), 'NULL')),
			'Metrics are error_rate, timeout_rate, disagreement_rate, decline_rate, escalation_rate, p95_latency_ms, cost_per_decision, burn_rate, psi and ks.',
			'Use metric ''error_rate''.');
	ELSIF NEW.action IS NULL
		OR NEW.action <> ALL ('{alert,roll_back,kill}') THEN
		PERFORM agentpay._refuse('23514', format('unknown action: %s',
				coalesce(quote_literal(NEW.action), 'NULL')),
			'Actions are alert, roll_back and kill.',
			format(mend, 'action = ''alert'''));
	ELSIF NEW.over > (CASE WHEN NEW.metric IN ('psi', 'ks')
						   THEN interval '7 days' ELSE '1 day' END) THEN
		PERFORM agentpay._refuse('22008',
			format('over is too long: %s', NEW.over),
			'The figure is of at most one day, up to now; psi and ks are of at most seven.',
			format(mend, 'over = ''10 minutes'''));
	END IF;
	PERFORM agentpay._check_span('over', NEW.over, false);
	PERFORM agentpay._check_range('min_samples', NEW.min_samples, 1, 1000000,
								  format(mend, 'min_samples = 50'));
	PERFORM agentpay._check_range('bound', NEW.bound, 0,
		CASE WHEN NEW.metric LIKE '%\_rate' AND NEW.metric <> 'burn_rate'
				  OR NEW.metric = 'ks' THEN 1 ELSE 1e9 END,
		format(mend, CASE WHEN NEW.metric LIKE '%\_rate'
							   OR NEW.metric IN ('psi', 'ks') THEN 'bound = 0.1' ELSE 'bound = 2000' END));
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_guardrails() FROM PUBLIC;
