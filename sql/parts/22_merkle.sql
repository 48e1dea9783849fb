-- 22_merkle.sql
--		The Merkle tree over the logs: which row is which leaf, the nodes, the
--		seals and the checkpoints that were signed.
--
-- One tree over decisions, agent_calls, outcomes and governance_log.  C writes
-- it (src/evidence/seal.c, checkpoint.c), past the triggers that refuse
-- everybody else; nothing here is ever updated, so nothing bloats.  All of it
-- is dumped: a restored log has the same root.

CREATE TABLE agentpay._leaves (
	leaf_index bigint NOT NULL PRIMARY KEY,
	row_key uuid NOT NULL UNIQUE,
	log "char" NOT NULL,
	hash bytea NOT NULL);
COMMENT ON TABLE agentpay._leaves IS 'the leaves of the Merkle tree, by their place. Append-only';
COMMENT ON COLUMN agentpay._leaves.row_key IS 'decision_id, call_id, outcome_id or event_id';
COMMENT ON COLUMN agentpay._leaves.log IS 'd: decisions, c: agent_calls, o: outcomes, g: governance_log';
COMMENT ON COLUMN agentpay._leaves.hash IS 'SHA-256 of a zero byte and the row''s canonical form';

CREATE TABLE agentpay._nodes (
	level smallint NOT NULL,
	node_index bigint NOT NULL,
	hash bytea NOT NULL,
	PRIMARY KEY (level, node_index));
COMMENT ON TABLE agentpay._nodes IS 'roots of complete subtrees of 256, 65536 ... leaves. Append-only';
COMMENT ON COLUMN agentpay._nodes.level IS '8, 16 ...: the subtree has 2 ^ level leaves';

CREATE TABLE agentpay._seals (
	seal_id bigint NOT NULL PRIMARY KEY,
	tree_size bigint NOT NULL,
	root_hash bytea NOT NULL,
	snapshot pg_snapshot NOT NULL,
	adopted_at timestamptz NOT NULL,
	sealed_at timestamptz NOT NULL);
COMMENT ON TABLE agentpay._seals IS 'each time that leaves were added. Append-only';
COMMENT ON COLUMN agentpay._seals.snapshot IS 'what was committed then is in the tree';
COMMENT ON COLUMN agentpay._seals.adopted_at IS 'of the database that the snapshot is of';

CREATE TABLE agentpay.checkpoints (
	tree_size bigint NOT NULL PRIMARY KEY,
	root_hash bytea NOT NULL,
	note text NOT NULL,
	signed_at timestamptz NOT NULL);
COMMENT ON TABLE agentpay.checkpoints IS 'signed statements of how large the log is and what its root is (c2sp.org/tlog-checkpoint). Append-only';
COMMENT ON COLUMN agentpay.checkpoints.root_hash IS 'of the tree of the first tree_size leaves (RFC 9162)';
COMMENT ON COLUMN agentpay.checkpoints.note IS 'the signed note, as it was exported';

CREATE TABLE agentpay._log_keys (
	vkey text NOT NULL PRIMARY KEY,
	first_used_at timestamptz NOT NULL);
COMMENT ON TABLE agentpay._log_keys IS 'public keys that checkpoints were signed with, as verifier keys of c2sp.org/signed-note. Append-only';

-- Logical replication brings rows whose xid another node gave: these the
-- sealer cannot find by it.
CREATE TABLE agentpay._foreign_rows (xid xid8 NOT NULL PRIMARY KEY);
COMMENT ON TABLE agentpay._foreign_rows IS 'transactions that brought rows of another node''s log, until they are sealed';

DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['_leaves', '_nodes', '_seals', 'checkpoints',
								'_log_keys']
	LOOP
		EXECUTE format('REVOKE ALL ON agentpay.%1$I FROM PUBLIC;'
			' CREATE TRIGGER agentpay_change'
			' BEFORE UPDATE OR DELETE ON agentpay.%1$I FOR EACH ROW'
			' EXECUTE FUNCTION agentpay._refuse_change();'
			' CREATE TRIGGER agentpay_truncate'
			' BEFORE TRUNCATE ON agentpay.%1$I'
			' EXECUTE FUNCTION agentpay._refuse_change();'
			' CREATE TRIGGER agentpay_insert'
			' BEFORE INSERT ON agentpay.%1$I FOR EACH ROW'
			' EXECUTE FUNCTION agentpay._refuse_change();'
			' ALTER TABLE agentpay.%1$I'
			' ENABLE ALWAYS TRIGGER agentpay_change,'
			' ENABLE ALWAYS TRIGGER agentpay_truncate,'
			' ENABLE ALWAYS TRIGGER agentpay_insert', name);
		PERFORM pg_extension_config_dump('agentpay.' || name, '');
	END LOOP;
	REVOKE ALL ON agentpay._foreign_rows FROM PUBLIC;
END$$;

-- ── sealing ─────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._seal() RETURNS bigint
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_seal';
REVOKE ALL ON FUNCTION agentpay._seal() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._seal() IS 'seals what committed since the last time, as the governor does: how many rows';

CREATE FUNCTION agentpay._sign_checkpoint() RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_sign';
REVOKE ALL ON FUNCTION agentpay._sign_checkpoint() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._sign_checkpoint() IS 'signs the last seal, as the governor does; does not export';

-- ── proofs ──────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay.canonical_leaf(decision_id uuid) RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'agentpay_sql_canonical_leaf';
REVOKE ALL ON FUNCTION agentpay.canonical_leaf(uuid) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.canonical_leaf(uuid) IS 'the row of a log with that id as RFC 8785 JSON: its leaf is the SHA-256 of a zero byte and this text in UTF-8';

CREATE FUNCTION agentpay.inclusion_proof(decision_id uuid) RETURNS text
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'agentpay_sql_inclusion_proof';
REVOKE ALL ON FUNCTION agentpay.inclusion_proof(uuid) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.inclusion_proof(uuid) IS 'that the row of a log with that id is in the Merkle log: a c2sp.org/tlog-proof@v1 file with the last checkpoint';

CREATE FUNCTION agentpay.consistency_proof(first_size bigint,
	second_size bigint DEFAULT NULL) RETURNS bytea[]
	LANGUAGE C STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'agentpay_sql_consistency_proof';
REVOKE ALL ON FUNCTION agentpay.consistency_proof(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.consistency_proof(bigint, bigint) IS 'that the log of second_size leaves begins with that of first_size leaves (RFC 9162); NULL: the last checkpoint';

CREATE FUNCTION agentpay.checkpoint() RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'agentpay_sql_checkpoint';
REVOKE ALL ON FUNCTION agentpay.checkpoint() FROM PUBLIC;
COMMENT ON FUNCTION agentpay.checkpoint() IS 'the last signed checkpoint: origin, leaves, root and signature (c2sp.org/tlog-checkpoint)';

CREATE FUNCTION agentpay.verify_log(since_checkpoint text DEFAULT NULL)
	RETURNS TABLE (ok boolean, rows bigint, tree_size bigint, log text,
		leaf_index bigint, row_key uuid, problem text)
	LANGUAGE C STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'agentpay_sql_verify_log';
REVOKE ALL ON FUNCTION agentpay.verify_log(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.verify_log(text) IS 'whether the logs are what was sealed: a row for each problem, then one that sums up; with an exported checkpoint, that the log begins with it, and the rows behind it';
