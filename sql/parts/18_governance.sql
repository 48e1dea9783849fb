-- 18_governance.sql
--		Which triggers the configuration tables have, and the record of every
--		change to them.
--
-- All are ENABLE ALWAYS, so that session_replication_role cannot go around
-- them, but agentpay_replicated, ENABLE REPLICA: logical replication fires no
-- triggers of statements, and sessions must see rules that arrive that way.

CREATE FUNCTION agentpay._digest_of(document jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('sha256',
		encode(sha256(convert_to(document::text, 'UTF8')), 'hex'))
$$;
REVOKE ALL ON FUNCTION agentpay._digest_of(jsonb) FROM PUBLIC;

-- One event a row.  TG_ARGV: the kind of object, then the columns of its key.
CREATE FUNCTION agentpay._govern_change() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before jsonb;
	after jsonb;
	object text;
BEGIN
	-- Trees, which may be tens of megabytes, are logged by their digest, and
	-- when they come or go: a version's definition never changes.
	IF TG_TABLE_NAME = 'models' THEN
		IF OLD.kind = 'xgboost' THEN
			OLD.definition := CASE TG_OP WHEN 'DELETE'
				THEN agentpay._digest_of(OLD.definition) END;
		END IF;
		IF NEW.kind = 'xgboost' THEN
			NEW.definition := CASE TG_OP WHEN 'INSERT'
				THEN agentpay._digest_of(NEW.definition) END;
		END IF;
	END IF;
	before := to_jsonb(OLD);
	after := to_jsonb(NEW);
	IF before IS NOT DISTINCT FROM after OR agentpay._restoring() THEN
		RETURN NULL;
	END IF;
	SELECT string_agg(coalesce(after, before) ->> key_column, '.' ORDER BY ord)
	  INTO object
	  FROM unnest(TG_ARGV[1:]) WITH ORDINALITY AS k (key_column, ord);
	PERFORM agentpay._govern(lower(TG_OP), TG_ARGV[0], object,
		CASE TG_ARGV[0] WHEN 'kill_switch' THEN after ->> 'reason' END,
		before, after);
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._govern_change() FROM PUBLIC;

-- After the checks, which say more: what they let pass and left empty.
CREATE FUNCTION agentpay._refuse_null() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing text;
	default_value text;
	probe record := NEW;
BEGIN
	IF TG_TABLE_NAME = 'models' THEN
		IF NEW.definition IS NOT NULL THEN
			probe.definition := '{}'::jsonb; -- it may be large
		END IF;
	END IF;
	SELECT a.attname, pg_get_expr(d.adbin, d.adrelid)
	  INTO missing, default_value
	  FROM jsonb_each(to_jsonb(probe)) AS c
	  JOIN pg_attribute a ON a.attrelid = TG_RELID AND a.attname = c.key
	   AND a.attnotnull
	  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	 WHERE c.value = 'null' ORDER BY a.attnum LIMIT 1;
	IF FOUND AND NOT agentpay._restoring() THEN
		PERFORM agentpay._refuse('23502',
			format('%s of agentpay.%I cannot be NULL', missing, TG_TABLE_NAME),
			coalesce('Left out, it is ' || default_value || '.',
					 'It has no default.'),
			CASE WHEN default_value IS NULL
			THEN format('Give a value for %s.', missing)
			ELSE format('Leave %s out of the INSERT, or SET %1$s = DEFAULT.',
						missing) END);
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._refuse_null() FROM PUBLIC;

-- TRUNCATE has no rows to record, and would go around the checks of DELETE.
CREATE FUNCTION agentpay._refuse_truncate() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._refuse('55000',
		format('agentpay.%s cannot be truncated', TG_TABLE_NAME),
		'Every row that goes is recorded in agentpay.governance_log.',
		CASE TG_TABLE_NAME WHEN 'kill_switches'
		THEN 'UPDATE agentpay.kill_switches SET engaged = false RETURNING *; opens them all.'
		ELSE format('DELETE FROM agentpay.%I;', TG_TABLE_NAME) END);
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._refuse_truncate() FROM PUBLIC;

DO $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT * FROM (VALUES
			-- table, kind, key, operations that are checked
			('decision_points', 'point', '{point}', 'INSERT OR UPDATE OR DELETE'),
			('verdicts', 'verdict', '{point,verdict}', 'INSERT OR UPDATE OR DELETE'),
			('features', 'feature', '{point,name}', 'INSERT OR UPDATE OR DELETE'),
			('rulesets', 'ruleset', '{point,version}', 'INSERT OR UPDATE OR DELETE'),
			('rules', 'rule', '{point,version,code}', 'INSERT OR UPDATE OR DELETE'),
			('lists', 'list', '{name}', 'INSERT OR UPDATE OR DELETE'),
			('list_entries', 'list_entry', '{list,value}', 'INSERT OR UPDATE'),
			('models', 'model', '{name,version}', 'INSERT OR UPDATE OR DELETE'),
			('allowed_endpoints', 'endpoint', '{origin}', 'INSERT OR UPDATE'),
			('agents', 'agent', '{name}', 'INSERT OR UPDATE OR DELETE'),
			('authorities', 'authority', '{agent,verdict}', 'INSERT OR UPDATE'),
			('gates', 'gate', '{agent,metric}', 'INSERT OR UPDATE OR DELETE'),
			('data_policies', 'data_policy', '{table_name,column_name}', 'INSERT OR UPDATE'),
			('budgets', 'budget', '{name}', 'INSERT OR UPDATE'),
			('kill_switches', 'kill_switch', '{scope,target}', 'INSERT OR UPDATE OR DELETE'),
			('guardrails', 'guardrail', '{agent,metric,action}', 'INSERT OR UPDATE'),
			('exchange_rates', 'exchange_rate', '{base,currency,valid_from}', 'INSERT OR UPDATE'),
			('outcome_mappings', 'outcome_mapping', '{network,reason_code}', 'INSERT OR UPDATE OR DELETE'))
			AS c (name, kind, key, checked)
	LOOP
		EXECUTE format('CREATE TRIGGER agentpay_check BEFORE %3$s'
			' ON agentpay.%1$I FOR EACH ROW EXECUTE FUNCTION agentpay.%2$I();'
			' CREATE TRIGGER agentpay_check_null BEFORE INSERT OR UPDATE'
			' ON agentpay.%1$I FOR EACH ROW'
			' EXECUTE FUNCTION agentpay._refuse_null();'
			' CREATE TRIGGER agentpay_govern AFTER INSERT OR UPDATE OR DELETE'
			' ON agentpay.%1$I FOR EACH ROW'
			' EXECUTE FUNCTION agentpay._govern_change(%4$L, %5$s);'
			' CREATE TRIGGER agentpay_changed AFTER INSERT OR UPDATE OR DELETE'
			' OR TRUNCATE ON agentpay.%1$I FOR EACH STATEMENT'
			' EXECUTE FUNCTION agentpay._config_changed();'
			' CREATE TRIGGER agentpay_replicated'
			' AFTER INSERT OR UPDATE OR DELETE ON agentpay.%1$I'
			' FOR EACH ROW EXECUTE FUNCTION agentpay._config_changed();'
			' ALTER TABLE agentpay.%1$I'
			' ENABLE REPLICA TRIGGER agentpay_replicated;'
			' CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE'
			' ON agentpay.%1$I EXECUTE FUNCTION agentpay._refuse_truncate()',
			t.name, '_check_' || t.name, t.checked, t.kind,
			(SELECT string_agg(quote_literal(k), ', ' ORDER BY ord)
			   FROM unnest(t.key::text[]) WITH ORDINALITY AS u (k, ord)));
	END LOOP;
END$$;

CREATE TRIGGER agentpay_version AFTER INSERT OR UPDATE ON agentpay.agents
	FOR EACH ROW EXECUTE FUNCTION agentpay._version_agent();
CREATE TRIGGER agentpay_stages BEFORE UPDATE OF stage, protocol, endpoint,
	model, prompt, fields, options, invoke_when, position, escalate_to,
	min_confidence ON agentpay.agents
	FOR EACH STATEMENT EXECUTE FUNCTION agentpay._order_stages();
CREATE TRIGGER agentpay_version AFTER INSERT OR UPDATE OR DELETE
	ON agentpay.authorities
	FOR EACH ROW EXECUTE FUNCTION agentpay._authority_changed();
CREATE TRIGGER agentpay_gates AFTER DELETE ON agentpay.agents
	FOR EACH ROW EXECUTE FUNCTION agentpay._drop_gates();
CREATE TRIGGER agentpay_switch AFTER INSERT OR DELETE ON agentpay.agents
	FOR EACH ROW EXECUTE FUNCTION agentpay._keep_kill_switches('agent', 'name');
CREATE TRIGGER agentpay_switch AFTER INSERT OR DELETE
	ON agentpay.decision_points
	FOR EACH ROW EXECUTE FUNCTION agentpay._keep_kill_switches('point', 'point');
CREATE TRIGGER agentpay_caps AFTER UPDATE OR DELETE ON agentpay.budgets
	FOR EACH STATEMENT EXECUTE FUNCTION agentpay._check_caps_kept();

DO $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT g.tgrelid::regclass AS name, g.tgname FROM pg_trigger g
		  JOIN pg_class c ON c.oid = g.tgrelid
		 WHERE c.relnamespace = 'agentpay'::regnamespace
		   AND NOT g.tgisinternal AND g.tgfoid <> 0 AND c.relkind = 'r'
		   AND g.tgname IN ('agentpay_check', 'agentpay_check_null', 'agentpay_govern',
			'agentpay_changed', 'agentpay_truncate', 'agentpay_version',
			'agentpay_switch', 'agentpay_caps', 'agentpay_stages',
			'agentpay_gates', 'agentpay_four_eyes',
			'agentpay_four_eyes_delete')
	LOOP
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.name,
					   t.tgname);
	END LOOP;
END$$;
