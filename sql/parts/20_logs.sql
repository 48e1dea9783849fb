-- 20_logs.sql
--		The logs that nobody changes, their partitions and guards, and who
--		this database is.
--
-- Parents have no index and no primary key: a restore attaches a leaf, ATTACH
-- would make the index, and the dump's own CREATE INDEX would then fail.  The
-- partition maker gives each leaf its indexes and guards before it attaches
-- it.  Leaves are never members of the extension, so that they are dumped as
-- ordinary tables; CREATE EXTENSION makes none, so that they restore.
--
-- The guards have two halves: triggers refuse changes of rows, and
-- src/evidence/guard.c refuses changes of the tables.

-- ── what C does for SQL ─────────────────────────────────────────────────────
CREATE FUNCTION agentpay._now() RETURNS timestamptz
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_now';
REVOKE ALL ON FUNCTION agentpay._now() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._now() IS 'agentpay''s clock: clock_timestamp() and agentpay.clock_offset';

CREATE FUNCTION agentpay._uuid_v7() RETURNS uuid
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_uuid_v7';
REVOKE ALL ON FUNCTION agentpay._uuid_v7() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._uuid_v7() IS 'a time-ordered uuid (RFC 9562, version 7)';

CREATE FUNCTION agentpay._append(record) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_append';
REVOKE ALL ON FUNCTION agentpay._append(record) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._append(record) IS 'appends a row to the log whose row type it has; fills a NULL xid';

CREATE FUNCTION agentpay._append_all(record[]) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_append_all';
REVOKE ALL ON FUNCTION agentpay._append_all(record[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._append_all(record[]) IS 'the same with an array of rows of one log';

-- ── the logs ────────────────────────────────────────────────────────────────
CREATE TABLE agentpay.agent_versions (
	agent text NOT NULL,
	version int NOT NULL,
	definition jsonb NOT NULL,
	sha256 bytea NOT NULL,
	changed_by name NOT NULL,
	changed_at timestamptz NOT NULL,
	PRIMARY KEY (agent, version));
COMMENT ON TABLE agentpay.agent_versions IS 'what each version of an agent was; decisions and calls name it. Append-only';
COMMENT ON COLUMN agentpay.agent_versions.definition IS 'the row of agents, without stage and enabled; the secret is a reference only';
COMMENT ON COLUMN agentpay.agent_versions.sha256 IS 'of definition''s text in UTF-8';
SELECT pg_catalog.pg_extension_config_dump('agentpay.agent_versions', '');

CREATE TABLE agentpay.decisions (
	decision_id uuid NOT NULL,
	decided_at timestamptz NOT NULL,
	point text NOT NULL,
	row_id text NOT NULL,
	occurred_at timestamptz NOT NULL,
	amount numeric,
	currency text,
	base_amount numeric,
	kind text NOT NULL CHECK (kind IN ('rules','shadow_rules','agent','fallback','human')),
	authority text NOT NULL CHECK (authority IN ('live','shadow')),
	verdict text NOT NULL,
	answer text,
	assignment text NOT NULL DEFAULT 'treatment' CHECK (assignment IN ('treatment','holdout','explore','audit')),
	repeat_no int NOT NULL DEFAULT 0,
	propensity real NOT NULL DEFAULT 1,
	score numeric,
	reasons text[] NOT NULL DEFAULT '{}',
	ruleset_version int,
	agent text,
	agent_version int,
	confidence real,
	failure text CHECK (failure IN ('timeout','http_error','rate_limited','truncated','not_json','schema','unknown_verdict',
		'over_authority','low_confidence','over_budget','killed','uncertain','skipped')),
	inputs jsonb,
	cost numeric NOT NULL DEFAULT 0,
	latency_ms double precision,
	supersedes uuid,
	detail jsonb,
	sealed bytea,
	key_id bigint,
	xid xid8 NOT NULL,
	CHECK ((kind = 'fallback') = (failure IS NOT NULL)),
	CHECK ((agent IS NULL) = (agent_version IS NULL))
) PARTITION BY RANGE (decided_at);
COMMENT ON TABLE agentpay.decisions IS 'every verdict that was reached about a row, by rules, agents or people. Append-only';
COMMENT ON COLUMN agentpay.decisions.decision_id IS 'UUID version 7';
COMMENT ON COLUMN agentpay.decisions.row_id IS 'the payment''s key, as text';
COMMENT ON COLUMN agentpay.decisions.occurred_at IS 'the payment''s own time';
COMMENT ON COLUMN agentpay.decisions.base_amount IS 'amount in the point''s base currency';
COMMENT ON COLUMN agentpay.decisions.authority IS 'live: it counted; shadow: it was only recorded';
COMMENT ON COLUMN agentpay.decisions.verdict IS 'effective; fallback: the rules verdict that stands';
COMMENT ON COLUMN agentpay.decisions.answer IS 'what the agent said, before confidence and authority';
COMMENT ON COLUMN agentpay.decisions.repeat_no IS '0: the answer that counts; 1 and above: repeats';
COMMENT ON COLUMN agentpay.decisions.propensity IS 'probability that this row''s label can be observed';
COMMENT ON COLUMN agentpay.decisions.reasons IS 'rule codes, or the agent''s reasons';
COMMENT ON COLUMN agentpay.decisions.failure IS 'why the rules verdict stands; connection and TLS errors: http_error; an open breaker: skipped';
COMMENT ON COLUMN agentpay.decisions.inputs IS 'every column and feature that was read, after the data policy; shadow_rules: NULL, they stand with the rules decision of the same row and decided_at';
COMMENT ON COLUMN agentpay.decisions.cost IS 'USD, all attempts';
COMMENT ON COLUMN agentpay.decisions.sealed IS 'what may not stand in clear: inputs, explanation, reason';
COMMENT ON COLUMN agentpay.decisions.xid IS 'top-level transaction that wrote it';

CREATE TABLE agentpay.agent_calls (
	call_id uuid NOT NULL,
	called_at timestamptz NOT NULL,
	task_id bigint NOT NULL,
	attempt int NOT NULL,
	decision_id uuid,
	point text NOT NULL,
	row_id text NOT NULL,
	agent text NOT NULL,
	agent_version int NOT NULL,
	cost_center text NOT NULL,
	provider text NOT NULL,
	request_model text,
	response_model text,
	request_id text,
	input_tokens bigint,
	cached_tokens bigint,
	output_tokens bigint,
	finish_reason text,
	http_status int,
	status text NOT NULL CHECK (status IN ('ok','timeout','http_error','rate_limited','truncated','not_json','schema',
		'unknown_verdict','killed','uncertain')),
	error text,
	reserved_cost numeric NOT NULL DEFAULT 0,
	cost numeric NOT NULL DEFAULT 0,
	queued_ms double precision,
	in_flight_at_start int,
	latency_ms double precision,
	request_sha256 bytea,
	sealed bytea,
	key_id bigint,
	xid xid8 NOT NULL
) PARTITION BY RANGE (called_at);
COMMENT ON TABLE agentpay.agent_calls IS 'every call to an agent, retries included. Append-only';
COMMENT ON COLUMN agentpay.agent_calls.decision_id IS 'the decision it led to';
COMMENT ON COLUMN agentpay.agent_calls.request_id IS 'the provider''s';
COMMENT ON COLUMN agentpay.agent_calls.status IS 'what happened to the call; decisions.failure: to the answer';
COMMENT ON COLUMN agentpay.agent_calls.reserved_cost IS 'USD, the bound that was held';
COMMENT ON COLUMN agentpay.agent_calls.cost IS 'USD, settled';
COMMENT ON COLUMN agentpay.agent_calls.request_sha256 IS 'of the exact bytes sent';
COMMENT ON COLUMN agentpay.agent_calls.sealed IS 'prompt and answer';

CREATE TABLE agentpay.outcomes (
	outcome_id uuid NOT NULL,
	observed_at timestamptz NOT NULL DEFAULT now(),
	point text NOT NULL,
	row_id text NOT NULL,
	label text NOT NULL,
	source text NOT NULL CHECK (source IN ('chargeback','fraud_report','analyst','explore','audit','settlement','representment','import')),
	amount_lost numeric,
	effective_at timestamptz NOT NULL,
	recorded_by name NOT NULL DEFAULT session_user,
	xid xid8 NOT NULL
) PARTITION BY RANGE (observed_at);
COMMENT ON TABLE agentpay.outcomes IS 'labels: what turned out. Corrections append: the latest observed_at wins. A reversal, a void, a refund and a non-fraud chargeback are no fraud label. Append-only';
COMMENT ON COLUMN agentpay.outcomes.label IS 'fraud role: fraud or legit; other roles: the verdict that was right';
COMMENT ON COLUMN agentpay.outcomes.amount_lost IS 'in the row''s currency, after recovery and liability shift';
COMMENT ON COLUMN agentpay.outcomes.effective_at IS 'when it became true in the world';

CREATE TABLE agentpay.governance_log (
	event_id uuid NOT NULL,
	logged_at timestamptz NOT NULL,
	actor name NOT NULL,
	action text NOT NULL,
	object_kind text NOT NULL,
	object text NOT NULL,
	reason text,
	before jsonb,
	after jsonb,
	xid xid8 NOT NULL
) PARTITION BY RANGE (logged_at);
COMMENT ON TABLE agentpay.governance_log IS 'who changed what, and what agentpay itself did. Append-only';
COMMENT ON COLUMN agentpay.governance_log.actor IS 'session_user; workers: agentpay';
COMMENT ON COLUMN agentpay.governance_log.action IS 'insert, update, delete, activate, revert, adopt, kill, exhausted ...';
COMMENT ON COLUMN agentpay.governance_log.object_kind IS 'agent, budget, kill_switch, partition, key ...';
COMMENT ON COLUMN agentpay.governance_log.before IS 'the row before; never a secret or a key';

CREATE TABLE agentpay._tasks (
	task_id bigint NOT NULL,
	created_at timestamptz NOT NULL,
	point text NOT NULL,
	row_id text NOT NULL,
	decision_id uuid NOT NULL,
	agent text NOT NULL,
	agent_version int NOT NULL,
	decide_by timestamptz,
	idempotency_key uuid NOT NULL,
	repeat_no int NOT NULL,
	escalated_from bigint,
	bucket smallint,
	holdout_bucket smallint,
	forced boolean NOT NULL,
	stage smallint,
	lowered bigint,
	xid xid8 NOT NULL
) PARTITION BY RANGE (created_at);
COMMENT ON TABLE agentpay._tasks IS 'questions for agents: written with the payment, never updated; done when the decision exists';
COMMENT ON COLUMN agentpay._tasks.created_at IS 'decided_at of the rules decision';
COMMENT ON COLUMN agentpay._tasks.decide_by IS 'an answer of position pre_auth counts before it; NULL: it may take its time';
COMMENT ON COLUMN agentpay._tasks.repeat_no IS '0: the question that counts; 1, 2, ...: the same question asked again';
COMMENT ON COLUMN agentpay._tasks.escalated_from IS 'the task whose answer was not sure enough; NULL: the payment itself asks';
COMMENT ON COLUMN agentpay._tasks.bucket IS '0 to 99: live at stages above it; a tier has that of the task below. NULL: not drawn, never live';
COMMENT ON COLUMN agentpay._tasks.holdout_bucket IS '0 to 9999: below 100 * holdout_percent the row stays under rules';
COMMENT ON COLUMN agentpay._tasks.forced IS 'a list, an error, or, of role fraud, a rule with a verdict of its own made the rules say what they said: nothing may loosen it';
COMMENT ON COLUMN agentpay._tasks.stage IS 'percent that the agent''s stage was at when it was asked, negative for a row of its control group: what is raised later does not reach it';
COMMENT ON COLUMN agentpay._tasks.lowered IS 'how often that stage had been lowered by then: once more, and it is never live';
CREATE SEQUENCE agentpay._task_id_seq;
SELECT pg_catalog.pg_extension_config_dump('agentpay._task_id_seq', '');

-- ── who this database is ────────────────────────────────────────────────────
CREATE TABLE agentpay._identity (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	adopted_at timestamptz NOT NULL);
COMMENT ON TABLE agentpay._identity IS 'the cluster and database that this ledger lives in; not dumped, so that a copy knows that it is one';
-- sessions keep in mind whether the database is held
CREATE TRIGGER agentpay_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON agentpay._identity FOR EACH STATEMENT
	EXECUTE FUNCTION agentpay._config_changed();
ALTER TABLE agentpay._identity ENABLE ALWAYS TRIGGER agentpay_changed;

CREATE FUNCTION agentpay._held() RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_held';
REVOKE ALL ON FUNCTION agentpay._held() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._held() IS 'true: not started, or a copy that nobody adopted: nothing calls an agent';

CREATE FUNCTION agentpay._has_leaves() RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_has_leaves';
REVOKE ALL ON FUNCTION agentpay._has_leaves() FROM PUBLIC;

CREATE FUNCTION agentpay._restoring() RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_restoring';
REVOKE ALL ON FUNCTION agentpay._restoring() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._restoring() IS 'true from the first restored log until adopt(): triggers let the dump in as it is';

CREATE FUNCTION agentpay._is_apply_worker() RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_is_apply_worker';
REVOKE ALL ON FUNCTION agentpay._is_apply_worker() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._is_apply_worker() IS 'true: logical replication brings rows of a log from another node';

-- ── guards ──────────────────────────────────────────────────────────────────
-- The appender writes past triggers; whatever comes by SQL is refused.  Row
-- triggers of a parent are cloned to a leaf when it is attached.  The trigger
-- functions are SECURITY DEFINER so that whoever was granted too much reads
-- why it is refused, and not that _restoring() may not be called.
CREATE FUNCTION agentpay._refuse_change() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_OP = 'INSERT'
	   AND (agentpay._restoring() OR agentpay._is_apply_worker()) THEN
		-- another node's xid says nothing about what the rollups have seen
		IF EXISTS (SELECT FROM agentpay._rule_rollup_state) THEN
			DELETE FROM agentpay._rule_rollup_state;
		END IF;
		IF EXISTS (SELECT FROM agentpay._asked_state) THEN
			DELETE FROM agentpay._asked_state;
		END IF;
		IF EXISTS (SELECT FROM agentpay._metric_state) THEN
			DELETE FROM agentpay._metric_state;
		END IF;
		-- nor does it tell the sealer that the row is new
		IF agentpay._is_apply_worker() AND TG_TABLE_NAME
		   ~ '^(decisions|agent_calls|outcomes|governance_log)' THEN
			INSERT INTO agentpay._foreign_rows (xid)
				VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING;
		END IF;
		RETURN NEW;
	END IF;
	PERFORM agentpay._refuse('AP001',
		format('agentpay.%s is append-only: %s refused', TG_TABLE_NAME, TG_OP),
		'What was recorded is evidence: nobody changes it, and only agentpay adds to it.',
		CASE WHEN TG_TABLE_NAME LIKE 'outcomes%'
		THEN 'A label, or its correction, is added by SELECT agentpay.record_outcome(point, row_id, label);'
		ELSE 'A correction is a new row, written by the function that makes such rows.'
		END);
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._refuse_change() FROM PUBLIC;

-- A version must be what agents holds at that moment.
CREATE FUNCTION agentpay._agent_versions_insert() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() OR agentpay._is_apply_worker() OR EXISTS (
		SELECT FROM agentpay.agents a
		 WHERE a.name = NEW.agent
		   AND agentpay._agent_definition(a) = NEW.definition) THEN
		RETURN NEW;
	END IF;
	PERFORM agentpay._refuse('AP001',
		'agentpay.agent_versions is append-only: INSERT refused',
		'A version is written when the agent changes.',
		format('UPDATE agentpay.agents SET ... WHERE name = %L;', NEW.agent));
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._agent_versions_insert() FROM PUBLIC;

DO $$
DECLARE
	log text;
BEGIN
	FOREACH log IN ARRAY ARRAY['decisions', 'agent_calls', 'outcomes',
							   'governance_log', '_tasks', 'agent_versions']
	LOOP
		EXECUTE format('CREATE TRIGGER agentpay_change'
			' BEFORE UPDATE OR DELETE ON agentpay.%1$I FOR EACH ROW'
			' EXECUTE FUNCTION agentpay._refuse_change();'
			' CREATE TRIGGER agentpay_truncate'
			' BEFORE TRUNCATE ON agentpay.%1$I'
			' EXECUTE FUNCTION agentpay._refuse_change();'
			' CREATE TRIGGER agentpay_insert'
			' BEFORE INSERT ON agentpay.%1$I FOR EACH ROW'
			' EXECUTE FUNCTION agentpay.%2$I();'
			' ALTER TABLE agentpay.%1$I'
			' ENABLE ALWAYS TRIGGER agentpay_change,'
			' ENABLE ALWAYS TRIGGER agentpay_truncate,'
			' ENABLE ALWAYS TRIGGER agentpay_insert', log,
			CASE WHEN log = 'agent_versions' THEN '_agent_versions_insert'
			ELSE '_refuse_change' END);
	END LOOP;
END$$;

-- The identity decides whether the guards hold: it can only become our own.
CREATE FUNCTION agentpay._guard_identity() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_OP IN ('INSERT', 'UPDATE') AND EXISTS (
		SELECT FROM pg_control_system() c, pg_database d
		 WHERE d.datname = current_database()
		   AND (NEW.system_identifier, NEW.database_oid)
			   = (c.system_identifier, d.oid)) THEN
		RETURN NEW;
	END IF;
	PERFORM agentpay._refuse('AP001',
		format('agentpay.%s cannot say another database: %s refused',
			   TG_TABLE_NAME, TG_OP),
		'It says which cluster and database the ledger is.',
		'SELECT agentpay.adopt(); makes this database the ledger.');
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._guard_identity() FROM PUBLIC;
CREATE TRIGGER agentpay_change BEFORE INSERT OR UPDATE OR DELETE
	ON agentpay._identity FOR EACH ROW
	EXECUTE FUNCTION agentpay._guard_identity();
CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE ON agentpay._identity
	EXECUTE FUNCTION agentpay._guard_identity();
ALTER TABLE agentpay._identity ENABLE ALWAYS TRIGGER agentpay_change,
	ENABLE ALWAYS TRIGGER agentpay_truncate;

-- ── start, and the governance log ───────────────────────────────────────────
-- The first attach or change of configuration makes the identity and the
-- partitions; a copy is left as it is, for adopt().
CREATE FUNCTION agentpay._ensure_started() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT agentpay._held() OR agentpay._has_leaves() THEN
		RETURN;
	END IF;
	PERFORM agentpay._take_identity();
	PERFORM agentpay._make_partitions();
END$$;
REVOKE ALL ON FUNCTION agentpay._ensure_started() FROM PUBLIC;

CREATE FUNCTION agentpay._take_identity() RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO agentpay._identity
		   (system_identifier, database_oid, adopted_at)
	SELECT c.system_identifier, d.oid, agentpay._now()
	  FROM pg_control_system() c, pg_database d
	 WHERE d.datname = current_database()
		ON CONFLICT (one) DO UPDATE
	   SET system_identifier = excluded.system_identifier,
		   database_oid = excluded.database_oid,
		   adopted_at = excluded.adopted_at
$$;
REVOKE ALL ON FUNCTION agentpay._take_identity() FROM PUBLIC;

CREATE FUNCTION agentpay._govern(action text, object_kind text, object text,
	reason text, before jsonb, after jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._ensure_started();
	PERFORM agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
		session_user, action, object_kind, object, reason, before, after,
		NULL)::agentpay.governance_log);
END$$;
REVOKE ALL ON FUNCTION agentpay._govern(text, text, text, text, jsonb, jsonb)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._govern(text, text, text, text, jsonb, jsonb)
	IS 'one event of the governance log, by the session''s user';

-- ── adoption ────────────────────────────────────────────────────────────────
-- Every row once more through the checks that a restore skips: an UPDATE that
-- changes nothing fires them, and is neither recorded nor a new version.  What
-- is retired or detached is not, since its table may have gone on without it.
CREATE FUNCTION agentpay._check_configuration() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE agentpay.decision_points SET point = point;
	UPDATE agentpay.verdicts SET verdict = verdict;
	UPDATE agentpay.features f SET name = f.name
	  FROM agentpay.decision_points p WHERE p.point = f.point AND p.enabled;
	UPDATE agentpay.rulesets SET version = version WHERE state <> 'retired';
	UPDATE agentpay.rules r SET code = r.code
	  FROM agentpay.rulesets s, agentpay.decision_points p
	 WHERE (s.point, s.version) = (r.point, r.version)
	   AND s.state <> 'retired' AND p.point = r.point AND p.enabled;
	UPDATE agentpay.lists SET name = name;
	UPDATE agentpay.list_entries SET value = value;
	UPDATE agentpay.models SET name = name;
	UPDATE agentpay.allowed_endpoints SET origin = origin;
	UPDATE agentpay.data_policies d SET treatment = d.treatment
	  FROM pg_class c WHERE c.oid = d.table_name;
	UPDATE agentpay.budgets SET name = name;
	UPDATE agentpay.outcome_mappings SET network = network;
	UPDATE agentpay.exchange_rates SET rate = rate;
	UPDATE agentpay.guardrails SET metric = metric;
	UPDATE agentpay.authorities SET verdict = verdict;
	UPDATE agentpay.gates SET metric = metric;
	UPDATE agentpay.agents a SET name = a.name
	  FROM agentpay.decision_points p WHERE p.point = a.point AND p.enabled;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_configuration() FROM PUBLIC;

-- Questions that the other database had not answered: their time is over.
CREATE FUNCTION agentpay._close_old_tasks() RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
				r.point, r.row_id, r.occurred_at, r.amount, r.currency,
				r.base_amount, 'fallback', 'shadow', r.verdict, NULL,
				r.assignment, t.repeat_no, r.propensity, r.score, r.reasons,
				r.ruleset_version, t.agent, t.agent_version, NULL, 'skipped',
				NULL, 0, NULL, NULL,
				jsonb_build_object('task_id', t.task_id), NULL, NULL,
				NULL)::agentpay.decisions))
	  FROM agentpay._tasks t
	  JOIN agentpay.decisions r ON r.decision_id = t.decision_id
	   AND r.decided_at = t.created_at
	 WHERE NOT EXISTS (
		SELECT FROM agentpay.decisions d
		 WHERE d.point = t.point AND d.row_id = t.row_id
		   AND d.agent = t.agent AND d.kind IN ('agent', 'fallback')
		   AND d.detail ->> 'task_id' = t.task_id::text)
$$;
REVOKE ALL ON FUNCTION agentpay._close_old_tasks() FROM PUBLIC;

CREATE FUNCTION agentpay.adopt() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before jsonb;
	closed bigint;
	changed bigint;
BEGIN
	LOCK TABLE agentpay._identity IN SHARE ROW EXCLUSIVE MODE;
	IF NOT agentpay._held() THEN
		RAISE NOTICE 'this database is the ledger already';
		RETURN;
	END IF;
	before := (SELECT to_jsonb(i) FROM agentpay._identity i);
	PERFORM agentpay._take_identity();
	-- ahead of the query below, which reads the logs that it appends to
	PERFORM agentpay._make_partitions();
	PERFORM agentpay._check_configuration();
	changed := agentpay._govern_held_changes();
	closed := agentpay._close_old_tasks();
	PERFORM agentpay._govern('adopt', 'database', current_database(),
		format('%s open tasks closed, %s changes put on record', closed,
			   changed), before,
		(SELECT to_jsonb(i) FROM agentpay._identity i));
END$$;
REVOKE ALL ON FUNCTION agentpay.adopt() FROM PUBLIC;
COMMENT ON FUNCTION agentpay.adopt() IS 'makes a restored, copied or upgraded database the ledger: checks its configuration, closes the tasks that it brought, and lets agents be called';
