-- Whether what the first and the last model said of a thousand rows is what
-- walking the trees in SQL gives.
WITH RECURSIVE asked AS (
	SELECT payment_id, ARRAY[amount::float4, card_age_days::float4,
							 category::float4] AS x
	  FROM bench.input LIMIT 1000),
walk AS (
	SELECT a.payment_id, a.x, n.*
	  FROM asked a, bench.nodes n WHERE n.node = 0
	UNION ALL
	SELECT w.payment_id, w.x, n.*
	  FROM walk w JOIN bench.nodes n ON n.tree = w.tree
	   AND n.node = 2 * w.node
			+ CASE WHEN w.x[1 + w.input] < w.value::float4 THEN 1 ELSE 2 END
	 WHERE NOT w.leaf),
answers AS (
	SELECT payment_id, 1 / (1 + exp(-sum(value)::float8)) AS answer
	  FROM walk WHERE leaf GROUP BY payment_id)
SELECT bench.must('decisions with the trees'' answer', count(*),
				  (SELECT count(*) FROM asked))
  FROM answers a JOIN agentpay.decisions d ON d.row_id = a.payment_id::text
 WHERE abs((d.inputs ->> 'model(trees0)')::float8 - a.answer) < 1e-6
   AND abs((d.inputs ->> 'model(trees9)')::float8 - a.answer) < 1e-6
   AND cardinality(d.reasons) = CASE WHEN a.answer > 0.5 THEN 10 ELSE 0 END;
