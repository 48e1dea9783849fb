-- 42_vault.sql
--		Tokens in place of values (treatment tokenise), and the way back.
--
-- The INSERT path writes the vault in C (src/privacy/vault.c).

CREATE TABLE agentpay._vault (
	token text COLLATE "C" NOT NULL,
	key_id bigint NOT NULL,
	domain text NOT NULL,
	token_id uuid NOT NULL,
	sealed bytea NOT NULL,
	created_at timestamptz NOT NULL)
	WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX _vault_token_idx ON agentpay._vault (token, key_id);
CREATE INDEX _vault_key_id_idx ON agentpay._vault (key_id);
REVOKE ALL ON agentpay._vault FROM PUBLIC;
COMMENT ON TABLE agentpay._vault IS 'what tokens stand for, sealed under a key of the subject; a token has a row for each subject';
COMMENT ON COLUMN agentpay._vault.domain IS 'the column: a value has one token in each';
COMMENT ON COLUMN agentpay._vault.token_id IS 'the token as a number: what the sealed value is bound to';
SELECT pg_catalog.pg_extension_config_dump('agentpay._vault', '');

CREATE FUNCTION agentpay._open_text(kind "char", id uuid, key_id bigint,
	sealed bytea) RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_open_text';
REVOKE ALL ON FUNCTION agentpay._open_text("char", uuid, bigint, bytea)
	FROM PUBLIC;

-- The server's log has it, too: that stays, whatever becomes of the caller's
-- transaction.
CREATE FUNCTION agentpay.detokenise(token text, reason text) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	found text;
	domains text[];
	domain text;
BEGIN
	IF coalesce(btrim(reason), '') = '' THEN
		PERFORM agentpay._refuse('22004', 'detokenise() needs a reason',
			'It is recorded in agentpay.governance_log.',
			'SELECT agentpay.detokenise(''tok_...'', ''case 4711'');');
	END IF;
	-- digits may stand for another value in each domain
	SELECT agentpay._open_text('t', (array_agg(v.token_id))[1],
			(array_agg(v.key_id))[1], (array_agg(v.sealed))[1]),
		   array_agg(v.domain) OVER (), v.domain
	  INTO found, domains, domain
	  FROM agentpay._vault v
	  JOIN agentpay._subject_keys k ON k.key_id = v.key_id
	 WHERE v.token = regexp_replace(detokenise.token, '^.*:', '')
	   AND (detokenise.token !~ ':'
			OR v.domain = regexp_replace(detokenise.token, ':[^:]*$', ''))
	 GROUP BY v.domain ORDER BY v.domain LIMIT 1;
	IF cardinality(domains) > 1 THEN
		PERFORM agentpay._refuse('21000',
			format('%s is a token of several columns', detokenise.token),
			format('Of %s: it stands for a value in each.',
				   array_to_string(domains, ', ')),
			format('SELECT agentpay.detokenise(%L, %L);',
				   domain || ':' || detokenise.token, reason));
	ELSIF found IS NULL THEN
		PERFORM agentpay._refuse('42704', 'the vault has no such token',
			'It was never given, or whoever it is about was forgotten.',
			'Tokens stand in the inputs of decisions: SELECT inputs FROM agentpay.decisions;');
	END IF;
	RAISE LOG 'agentpay: "%" looked behind the token %', session_user,
		detokenise.token;
	PERFORM agentpay._govern('detokenise', 'token', detokenise.token, reason,
							 NULL, NULL);
	RETURN found;
END$$;
REVOKE ALL ON FUNCTION agentpay.detokenise(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.detokenise(text, text) IS 'the value that a token stands for; who asked, and why, is in governance_log';
