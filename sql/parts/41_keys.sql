-- 41_keys.sql
--		What of a decision may not stand in clear, sealed under its subject's
--		key.

CREATE FUNCTION agentpay._unseal(d agentpay.decisions) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.inputs
$$;
REVOKE ALL ON FUNCTION agentpay._unseal(agentpay.decisions) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._unseal(agentpay.decisions) IS 'the inputs as the rules read them; NULL: their key is destroyed';
