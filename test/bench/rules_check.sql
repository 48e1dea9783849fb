-- Whether each of the first hundred rows matched the rules that plain SQL says.
DO $$
DECLARE
	rule record;
	matches bigint;
BEGIN
	CREATE TEMP TABLE expected (payment_id bigint, code text);
	FOR rule IN SELECT code, condition FROM agentpay.rules ORDER BY code LOOP
		EXECUTE format('INSERT INTO expected SELECT payment_id, %L '
					   'FROM (SELECT * FROM bench.input LIMIT 100) AS i '
					   'WHERE %s', rule.code, rule.condition);
	END LOOP;
	SELECT count(*) INTO matches
	  FROM (SELECT payment_id FROM bench.input LIMIT 100) i
	  JOIN agentpay.decisions d ON d.row_id = i.payment_id::text
	 WHERE d.reasons = coalesce((SELECT array_agg(e.code ORDER BY e.code)
								   FROM expected e
								  WHERE e.payment_id = i.payment_id), '{}')
	   AND d.score = cardinality(d.reasons);
	PERFORM bench.must('rows that matched what they should', matches, 100);
END$$;
