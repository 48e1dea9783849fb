-- For `make check-oracle`: rows of the demo's card payments (read from pstdin),
-- and of data made here with values that are missing, and the models that
-- train_logistic() fits to them. Writes <set>.csv (the rows in the order of
-- their time), and models.csv (set, l2, and what was fitted and measured).
SET client_min_messages = warning;
CREATE EXTENSION agentpay;
CREATE TABLE ulb (t float8, v1 float8, v2 float8, v3 float8, v4 float8, v5 float8, v6 float8, v7 float8, v8 float8,
	v9 float8, v10 float8, v11 float8, v12 float8, v13 float8, v14 float8, v15 float8, v16 float8, v17 float8, v18 float8,
	v19 float8, v20 float8, v21 float8, v22 float8, v23 float8, v24 float8, v25 float8, v26 float8, v27 float8, v28 float8,
	amount float8, fraud int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
\copy ulb (t, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28, amount, fraud) FROM pstdin CSV HEADER
ALTER TABLE ulb ADD at timestamptz;
-- rows of one second in the order of their id's text, as train_logistic() has them
UPDATE ulb SET at = '2013-09-01+00'::timestamptz + t * interval '1 second';
ALTER TABLE ulb ALTER at SET NOT NULL;

SELECT setseed(0.4);
CREATE TABLE made AS
SELECT g AS id, '2026-01-01+00'::timestamptz + g * interval '1 minute' AS at,
	   CASE WHEN random() > 0.1 THEN x END AS x, CASE WHEN random() > 0.2 THEN z * 1000 END AS z, random() AS noise, 5 AS same,
	   (random() < 1 / (1 + exp(4 - 2 * x - z)))::int AS fraud
  FROM (SELECT g, sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS x,
			   sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS z
		  FROM generate_series(1, 20000) AS g) AS r;
ALTER TABLE made ADD PRIMARY KEY (id), ALTER at SET NOT NULL;

CREATE TABLE trained (name text, l2 float8, version int, auc float8, average_precision float8, precision_at_100 float8, converged boolean);
CREATE FUNCTION train(name text, features text[], l2 float8) RETURNS void LANGUAGE sql AS $$
	INSERT INTO trained
	SELECT name, l2, version, auc, average_precision, precision_at_100, converged
	  FROM agentpay.train_logistic(name, name, features, label_delay => '0', l2 => l2);
$$;
CREATE FUNCTION set_up(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM agentpay.attach(name::regclass, name, 'fraud', 'id', 'at');
	UPDATE agentpay.decision_points SET labels_complete = true WHERE point = name;
	-- a row needs its decision to be labelled: the rows come again
	EXECUTE format('CREATE TEMPORARY TABLE again AS SELECT * FROM %I; DELETE FROM %1$I', name);
	EXECUTE format('INSERT INTO %I OVERRIDING SYSTEM VALUE SELECT * FROM again', name);
	EXECUTE format('SELECT count(agentpay.record_outcome(%L, id, ''fraud'')) FROM %1$I WHERE fraud = 1', name);
	DROP TABLE again;
END$$;
SELECT set_up('ulb'), set_up('made');
SELECT train('ulb', ARRAY(SELECT 'v' || n FROM generate_series(1, 28) AS n ORDER BY n) || '{amount}', l2)
  FROM unnest('{0.01,1,100}'::float8[]) AS l2;
SELECT train('made', '{x,z,noise,same}', l2) FROM unnest('{0.01,1,100}'::float8[]) AS l2;

\copy (SELECT v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28, amount, fraud FROM ulb ORDER BY at, id::text COLLATE "C") TO 'ulb.csv' CSV HEADER
\copy (SELECT x, z, noise, same, fraud FROM made ORDER BY at, id::text COLLATE "C") TO 'made.csv' CSV HEADER
\copy (SELECT t.*, m.definition FROM trained t JOIN agentpay.models m USING (name, version) ORDER BY name, l2) TO 'models.csv' CSV HEADER
