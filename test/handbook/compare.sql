-- Every value that a decision saw, beside its authors', who give six decimals.
--
-- Their order of a customer's payments within one second is that of a sort that
-- is not stable. So a difference is explained by a tie when the customer has
-- another payment in the same second, and the tie as a whole agrees: each count
-- is there as often, and the payment that counts the most has the same average.
SET client_min_messages = warning;
CREATE TABLE handbook.got AS
SELECT p.tx_id AS id, p.customer_id, p.tx_at, d.inputs
  FROM agentpay.decisions d JOIN handbook.payments p ON p.tx_id = d.row_id::int
 WHERE d.point = 'handbook' AND d.kind = 'rules' AND d.detail->'errors' IS NULL;
CREATE INDEX ON handbook.got (customer_id, tx_at);
ANALYZE handbook.got;
CREATE TABLE handbook.compared (feature text, id int, got float8, want float8);
SELECT format('INSERT INTO handbook.compared
	SELECT %1$L, id, (g.inputs->>%1$L)::float8, a.%1$I FROM handbook.got g JOIN handbook.answers a USING (id)', name)
  FROM agentpay.features WHERE point = 'handbook' ORDER BY name
\gexec
CREATE TABLE handbook.differing AS
SELECT c.*, g.customer_id, g.tx_at
  FROM handbook.compared c JOIN handbook.got g USING (id)
 WHERE got IS NULL OR abs(got - want) > 0.0000005000001;

-- those customers' ties, all of their rows
CREATE TABLE handbook.ties AS
SELECT c.*, g.customer_id, g.tx_at,
	   rank() OVER (PARTITION BY c.feature, g.customer_id, g.tx_at ORDER BY c.got) AS got_place,
	   rank() OVER (PARTITION BY c.feature, g.customer_id, g.tx_at ORDER BY c.want) AS want_place
  FROM handbook.got g JOIN handbook.compared c USING (id)
 WHERE (g.customer_id, g.tx_at) IN (SELECT customer_id, tx_at FROM handbook.differing)
   AND c.feature LIKE 'customer\_%';
CREATE TABLE handbook.explained AS
SELECT n.customer_id, n.tx_at
  FROM (SELECT DISTINCT customer_id, tx_at FROM handbook.ties) AS n
 WHERE (SELECT count(DISTINCT id) FROM handbook.ties t WHERE (t.customer_id, t.tx_at) = (n.customer_id, n.tx_at)) > 1
   AND NOT EXISTS ( -- counts: the same ones, in another order
	SELECT FROM handbook.ties t WHERE (t.customer_id, t.tx_at) = (n.customer_id, n.tx_at) AND feature LIKE '%\_n\_%'
	 GROUP BY feature HAVING array_agg(got ORDER BY got) <> array_agg(want ORDER BY want))
   AND NOT EXISTS ( -- averages: of all of them, the same
	SELECT FROM unnest('{1,7,30}'::int[]) AS d
	 CROSS JOIN LATERAL (
		SELECT max(a.got) FILTER (WHERE c.got_place = c.of) AS got, max(a.want) FILTER (WHERE c.want_place = c.of) AS want
		  FROM (SELECT *, count(*) OVER () AS of FROM handbook.ties t
				 WHERE (t.customer_id, t.tx_at) = (n.customer_id, n.tx_at) AND feature = format('customer_n_%sd', d)) AS c
		  JOIN handbook.ties a ON a.id = c.id AND a.feature = format('customer_avg_%sd', d)) AS last
	 WHERE last.got IS NULL OR last.want IS NULL OR abs(last.got - last.want) > 0.0000005000001);

CREATE VIEW handbook.wrong AS
SELECT d.feature, d.id, d.customer_id, d.tx_at, d.got, d.want
  FROM handbook.differing d
 WHERE d.feature NOT LIKE 'customer\_%'
	OR (d.customer_id, d.tx_at) NOT IN (SELECT customer_id, tx_at FROM handbook.explained);
CREATE VIEW handbook.per_feature AS
SELECT c.feature, count(*) AS values,
	   (SELECT count(*) FROM handbook.differing d WHERE d.feature = c.feature) AS differing,
	   (SELECT count(*) FROM handbook.wrong w WHERE w.feature = c.feature) AS unexplained
  FROM handbook.compared c GROUP BY c.feature ORDER BY c.feature;
CREATE VIEW handbook.exceptions AS
SELECT customer_id, tx_at AS second_of_the_tie, array_agg(DISTINCT id) AS payments, count(*) AS values_that_differ
  FROM handbook.differing
 WHERE (customer_id, tx_at) IN (SELECT customer_id, tx_at FROM handbook.explained) AND feature LIKE 'customer\_%'
 GROUP BY 1, 2 ORDER BY 2;
