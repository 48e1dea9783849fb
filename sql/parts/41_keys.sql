-- 41_keys.sql
--		Keys of subjects, wrapped by the master key: what of a decision may not
--		stand in clear is sealed under its subject's, and unreadable once
--		forget() has destroyed that.
--
-- The INSERT path reads and adds keys in C (src/privacy/keys.c), past SQL.
-- forget() and the other public functions are SECURITY DEFINER: whoever may
-- call them needs no right on the tables, which hold the keys of everybody.

CREATE TABLE agentpay._subject_keys (
	key_id bigint NOT NULL PRIMARY KEY,
	subject_hash bytea NOT NULL,
	wrapped bytea NOT NULL,
	master_name bytea NOT NULL,
	created_at timestamptz NOT NULL)
	-- what forget() deletes shall not stay on a page for long
	WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX _subject_keys_subject_hash_idx
	ON agentpay._subject_keys (subject_hash);
REVOKE ALL ON agentpay._subject_keys FROM PUBLIC;
COMMENT ON TABLE agentpay._subject_keys IS 'keys of subjects, wrapped by a master key; a subject may have several';
COMMENT ON COLUMN agentpay._subject_keys.key_id IS 'random; decisions and agent_calls name it';
COMMENT ON COLUMN agentpay._subject_keys.subject_hash IS 'HMAC of the subject under the lookup key';
COMMENT ON COLUMN agentpay._subject_keys.master_name IS 'of the master key that wraps it';
SELECT pg_catalog.pg_extension_config_dump('agentpay._subject_keys', '');

CREATE TABLE agentpay._lookup_key (
	one boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
	wrapped bytea NOT NULL,
	master_name bytea NOT NULL,
	created_at timestamptz NOT NULL);
REVOKE ALL ON agentpay._lookup_key FROM PUBLIC;
COMMENT ON TABLE agentpay._lookup_key IS 'the key under which subjects are hashed, wrapped by a master key; never another';
SELECT pg_catalog.pg_extension_config_dump('agentpay._lookup_key', '');

CREATE TABLE agentpay._erasures (
	subject_hash bytea NOT NULL,
	erased_at timestamptz NOT NULL,
	PRIMARY KEY (subject_hash, erased_at));
REVOKE ALL ON agentpay._erasures FROM PUBLIC;
COMMENT ON TABLE agentpay._erasures IS 'who was forgotten, by a keyed hash, and when: keys made before do not come back';
SELECT pg_catalog.pg_extension_config_dump('agentpay._erasures', '');

CREATE TRIGGER agentpay_change BEFORE UPDATE OR DELETE ON agentpay._erasures
	FOR EACH ROW EXECUTE FUNCTION agentpay._refuse_change();
CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE ON agentpay._erasures
	EXECUTE FUNCTION agentpay._refuse_change();
ALTER TABLE agentpay._erasures ENABLE ALWAYS TRIGGER agentpay_change,
	ENABLE ALWAYS TRIGGER agentpay_truncate;

-- ── sealed values ───────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._open(kind "char", id uuid, key_id bigint,
	sealed bytea) RETURNS jsonb
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_open';
REVOKE ALL ON FUNCTION agentpay._open("char", uuid, bigint, bytea) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._open("char", uuid, bigint, bytea) IS 'what was sealed for the row with that id (d: decisions, c: agent_calls); NULL: its key is destroyed';

CREATE FUNCTION agentpay._seal_text(kind "char", id uuid, key_id bigint,
	value text) RETURNS bytea
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_seal_text';
REVOKE ALL ON FUNCTION agentpay._seal_text("char", uuid, bigint, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._unseal(d agentpay.decisions) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN d.sealed IS NULL THEN d.inputs
		   ELSE d.inputs
				|| (agentpay._open('d', d.decision_id, d.key_id, d.sealed)
					-> 'inputs') END
$$;
REVOKE ALL ON FUNCTION agentpay._unseal(agentpay.decisions) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._unseal(agentpay.decisions) IS 'the inputs as the rules read them; NULL: their key is destroyed';

-- What a reader is told of a sealed value: the text of one of its members, or
-- in brackets why there is none.  Never an error: a missing master key shall not
-- take the rest of explain() with it.
CREATE FUNCTION agentpay._read_sealed(kind "char", id uuid, key_id bigint,
	sealed bytea, member text) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	value jsonb;
BEGIN
	value := agentpay._open(kind, id, key_id, sealed);
	IF value IS NULL AND sealed IS NOT NULL THEN
		RETURN '[erased]';
	END IF;
	RETURN value ->> member;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RETURN format('[sealed: %s]', SQLERRM);
END$$;
REVOKE ALL ON FUNCTION agentpay._read_sealed("char", uuid, bigint, bytea, text)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._read_sealed("char", uuid, bigint, bytea, text) IS 'a member of what was sealed for the row with that id; [erased]: its key is destroyed';

-- Prose about a row goes under the key of its subject where the rules decision
-- has one, and stands in detail otherwise.
CREATE FUNCTION agentpay._seal_prose(d agentpay.decisions, member text,
	prose text, key_id bigint) RETURNS agentpay.decisions
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF prose IS NULL THEN
		RETURN d;
	ELSIF key_id IS NULL THEN
		d.detail := coalesce(d.detail, '{}')
			|| jsonb_build_object(member, prose);
		RETURN d;
	END IF;
	d.sealed := agentpay._seal_text('d', d.decision_id, key_id,
		jsonb_build_object(member, prose)::text);
	IF d.sealed IS NOT NULL THEN
		d.key_id := key_id;
	END IF;
	RETURN d;
END$$;
REVOKE ALL ON FUNCTION agentpay._seal_prose(agentpay.decisions, text, text,
	bigint) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._seal_prose(agentpay.decisions, text, text,
	bigint) IS 'the decision with prose sealed under that key, not kept where the key is destroyed, or in detail without a key';

CREATE FUNCTION agentpay._prose(d agentpay.decisions, member text) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF d.sealed IS NULL OR d.detail ? member THEN
		RETURN d.detail ->> member;
	END IF;
	RETURN agentpay._read_sealed('d', d.decision_id, d.key_id, d.sealed,
								 member);
END$$;
REVOKE ALL ON FUNCTION agentpay._prose(agentpay.decisions, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._prose(agentpay.decisions, text) IS 'what was said with a decision of an agent (explanation) or a person (reason), sealed or not';

CREATE FUNCTION agentpay._erased(d agentpay.decisions) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.sealed IS NOT NULL
	   AND NOT EXISTS (SELECT FROM agentpay._subject_keys k
						WHERE k.key_id = d.key_id)
$$;
REVOKE ALL ON FUNCTION agentpay._erased(agentpay.decisions) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._erased(agentpay.decisions) IS 'whether what was sealed with the decision is unreadable for good';

-- ── the master key ──────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._master_names() RETURNS bytea[]
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_master_names';
REVOKE ALL ON FUNCTION agentpay._master_names() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._master_names() IS 'names of the master keys that are given, the current one first; NULL: none';

CREATE FUNCTION agentpay._new_lookup_key() RETURNS bytea
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_new_lookup_key';
REVOKE ALL ON FUNCTION agentpay._new_lookup_key() FROM PUBLIC;

CREATE FUNCTION agentpay._rewrap(key_id bigint, wrapped bytea,
	master_name bytea) RETURNS bytea
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_rewrap';
REVOKE ALL ON FUNCTION agentpay._rewrap(bigint, bytea, bytea) FROM PUBLIC;

CREATE FUNCTION agentpay._keys_changed() RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_keys_changed';
REVOKE ALL ON FUNCTION agentpay._keys_changed() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._keys_changed() IS 'wipes what sessions keep of keys, once this transaction commits';

-- The governor makes it as soon as there is a master key; by one at a time.
CREATE FUNCTION agentpay._make_lookup_key() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM agentpay._lookup_key)
		OR agentpay._master_names() IS NULL THEN
		RETURN false;
	END IF;
	LOCK TABLE agentpay._lookup_key IN SHARE ROW EXCLUSIVE MODE;
	INSERT INTO agentpay._lookup_key (wrapped, master_name, created_at)
	SELECT agentpay._new_lookup_key(), (agentpay._master_names())[1],
		   clock_timestamp()
		ON CONFLICT DO NOTHING;
	RETURN FOUND;
END$$;
REVOKE ALL ON FUNCTION agentpay._make_lookup_key() FROM PUBLIC;

-- Only keys that an earlier master key wraps.  Both stay usable until the old
-- one is taken out of the file, so that a crash in between costs nothing.
CREATE FUNCTION agentpay.rotate_master_key() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	names bytea[] := agentpay._master_names();
	lookups bigint;
	keys bigint;
BEGIN
	IF names IS NULL THEN
		PERFORM agentpay._refuse('55000', 'there is no master key',
			'The file or the command that agentpay.master_key names gives none.',
			'ALTER SYSTEM SET agentpay.master_key = ''file:/etc/agentpay/master.key''; SELECT pg_reload_conf();');
	END IF;
	PERFORM agentpay._make_lookup_key();
	UPDATE agentpay._lookup_key k
	   SET wrapped = agentpay._rewrap(0, k.wrapped, k.master_name),
		   master_name = names[1]
	 WHERE k.master_name <> names[1];
	GET DIAGNOSTICS lookups = ROW_COUNT;
	UPDATE agentpay._subject_keys k
	   SET wrapped = agentpay._rewrap(k.key_id, k.wrapped, k.master_name),
		   master_name = names[1]
	 WHERE k.master_name <> names[1];
	GET DIAGNOSTICS keys = ROW_COUNT;
	PERFORM agentpay._keys_changed();
	PERFORM agentpay._govern('rotate_master_key', 'key',
		encode(names[1], 'hex'), NULL, NULL,
		jsonb_build_object('keys', lookups + keys));
	RETURN lookups + keys;
END$$;
REVOKE ALL ON FUNCTION agentpay.rotate_master_key() FROM PUBLIC;
COMMENT ON FUNCTION agentpay.rotate_master_key() IS 'wraps every key that an older master key wraps under the current one: how many. No data is rewritten';

-- ── forgetting ──────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._subject_hash(subject text) RETURNS bytea
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_subject_hash';
REVOKE ALL ON FUNCTION agentpay._subject_hash(text) FROM PUBLIC;

-- How many decisions can be read no more.
CREATE FUNCTION agentpay._destroy_keys(keys bigint[]) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	unreadable bigint;
BEGIN
	IF keys IS NULL THEN
		RETURN 0;
	END IF;
	SELECT count(*) INTO unreadable
	  FROM agentpay.decisions d WHERE d.key_id = ANY (keys);
	DELETE FROM agentpay._vault v WHERE v.key_id = ANY (keys);
	DELETE FROM agentpay._subject_keys k WHERE k.key_id = ANY (keys);
	PERFORM agentpay._keys_changed();
	RETURN unreadable;
END$$;
REVOKE ALL ON FUNCTION agentpay._destroy_keys(bigint[]) FROM PUBLIC;

CREATE FUNCTION agentpay.forget(subject text, reason text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	hash bytea;
	keys bigint[];
	unreadable bigint;
BEGIN
	IF subject IS NULL THEN
		PERFORM agentpay._refuse('22004', 'forget() needs a subject',
			'It is the value of the points'' subject_column, as text.',
			'SELECT agentpay.forget(''...'', ''request 4711'');');
	ELSIF coalesce(btrim(reason), '') = '' THEN
		PERFORM agentpay._refuse('22004', 'forget() needs a reason',
			'It is recorded in agentpay.governance_log.',
			'SELECT agentpay.forget(''...'', ''request 4711'');');
	ELSIF length(subject) > 3 AND strpos(reason, subject) > 0 THEN
		PERFORM agentpay._refuse('22023', 'the reason names the subject',
			'It stays in agentpay.governance_log, which nobody can change.',
			'SELECT agentpay.forget(''...'', ''request 4711'');');
	END IF;
	hash := agentpay._subject_hash(subject);
	INSERT INTO agentpay._erasures VALUES (hash, clock_timestamp());
	SELECT array_agg(k.key_id) INTO keys
	  FROM agentpay._subject_keys k WHERE k.subject_hash = hash;
	unreadable := agentpay._destroy_keys(keys);
	PERFORM agentpay._govern('forget', 'subject', encode(hash, 'hex'), reason,
		NULL, jsonb_build_object('keys', coalesce(cardinality(keys), 0),
								 'decisions', unreadable));
	RETURN unreadable;
END$$;
REVOKE ALL ON FUNCTION agentpay.forget(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.forget(text, text) IS 'destroys the keys of a subject: how many decisions can be read no more';

-- A transaction that was in flight while forget() ran may have made a key that
-- forget() did not see: the governor looks again, as does who restores a dump.
CREATE FUNCTION agentpay.replay_erasures() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	keys bigint[];
	unreadable bigint;
BEGIN
	SELECT array_agg(k.key_id) INTO keys
	  FROM agentpay._subject_keys k
	 WHERE EXISTS (SELECT FROM agentpay._erasures e
					WHERE e.subject_hash = k.subject_hash
					  AND e.erased_at >= k.created_at);
	IF keys IS NULL THEN
		RETURN 0;
	END IF;
	unreadable := agentpay._destroy_keys(keys);
	PERFORM agentpay._govern('replay_erasures', 'subject', '*', NULL, NULL,
		jsonb_build_object('keys', cardinality(keys),
						   'decisions', unreadable));
	RETURN unreadable;
END$$;
REVOKE ALL ON FUNCTION agentpay.replay_erasures() FROM PUBLIC;
COMMENT ON FUNCTION agentpay.replay_erasures() IS 'destroys the keys that a restored dump brought back of subjects in _erasures: how many decisions can be read no more';

-- What the governor does about keys, when there is something to do.
CREATE FUNCTION agentpay._tend_keys() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._make_lookup_key();
	IF EXISTS (SELECT FROM agentpay._erasures) THEN
		PERFORM agentpay.replay_erasures();
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._tend_keys() FROM PUBLIC;
