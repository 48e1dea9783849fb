-- The extension, a payments table, and the file to load it from.
CREATE EXTENSION agentpay;

CREATE TABLE payments (
	id bigint PRIMARY KEY,
	created_at timestamptz NOT NULL,
	amount numeric(12,2) NOT NULL,
	currency text NOT NULL DEFAULT 'EUR',
	v1 float8, v2 float8, v3 float8, v4 float8, v5 float8, v6 float8, v7 float8,
	v8 float8, v9 float8, v10 float8, v11 float8, v12 float8, v13 float8,
	v14 float8, v15 float8, v16 float8, v17 float8, v18 float8, v19 float8,
	v20 float8, v21 float8, v22 float8, v23 float8, v24 float8, v25 float8,
	v26 float8, v27 float8, v28 float8,
	outcome text, risk_score numeric, reasons text[]);

-- What the feature below reads.
CREATE INDEX ON payments (amount, created_at);

-- The file as it is, and then in the order of time: what payments will get,
-- and what will turn out later (fraud).
CREATE TEMPORARY TABLE file (
	t float8, v1 float8, v2 float8, v3 float8, v4 float8, v5 float8, v6 float8,
	v7 float8, v8 float8, v9 float8, v10 float8, v11 float8, v12 float8,
	v13 float8, v14 float8, v15 float8, v16 float8, v17 float8, v18 float8,
	v19 float8, v20 float8, v21 float8, v22 float8, v23 float8, v24 float8,
	v25 float8, v26 float8, v27 float8, v28 float8, amount numeric(12,2),
	class int);
\copy file FROM pstdin CSV HEADER

CREATE SCHEMA demo;
CREATE TABLE demo.arriving AS
SELECT row_number() OVER (ORDER BY t, v1, v2) AS id,
	timestamptz '2013-09-01 00:00:00+00' + t * interval '1 second' AS created_at,
	amount, 'EUR' AS currency, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11,
	v12, v13, v14, v15, v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26,
	v27, v28, class = 1 AS fraud
FROM file;
CREATE UNIQUE INDEX ON demo.arriving (id);
ANALYZE demo.arriving;

-- Payments arrive.
CREATE FUNCTION demo.arrive(first bigint, last bigint) RETURNS void
	LANGUAGE sql
AS $$
	INSERT INTO payments (id, created_at, amount, currency, v1, v2, v3, v4, v5,
		v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19, v20,
		v21, v22, v23, v24, v25, v26, v27, v28)
	SELECT id, created_at, amount, currency, v1, v2, v3, v4, v5, v6, v7, v8,
		v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19, v20, v21, v22,
		v23, v24, v25, v26, v27, v28
	FROM demo.arriving
	WHERE arriving.id BETWEEN first AND last
	ORDER BY arriving.id
$$;

-- What turned out arrives.
CREATE FUNCTION demo.turn_out(first bigint, last bigint)
	RETURNS TABLE (frauds bigint, legit bigint)
	LANGUAGE sql
AS $$
	WITH recorded AS MATERIALIZED (
		SELECT fraud, agentpay.record_outcome('fraud', id,
			CASE WHEN fraud THEN 'fraud' ELSE 'legit' END, source => 'import',
			effective_at => created_at)
		FROM demo.arriving
		WHERE arriving.id BETWEEN first AND last)
	SELECT count(*) FILTER (WHERE fraud), count(*) FILTER (WHERE NOT fraud)
	FROM recorded
$$;
