-- Every payment that was scored saw a window as full as it should be: the
-- rhythm goes on, so that one leaves when one comes.
SELECT count(*) AS wrong
  FROM agentpay.decisions d JOIN public.payments p
	   ON p.payment_id::text = d.row_id
 WHERE (d.inputs ->> 'card_count_30d')::float8 IS DISTINCT FROM
	   CASE p.card_id WHEN 1 THEN 1000000 ELSE 10 END
	OR p.outcome <> CASE p.card_id WHEN 1 THEN 'review' ELSE 'approve' END
\gset
SELECT :wrong = 0 AS right \gset
\if :right
\else
DO $$BEGIN RAISE EXCEPTION 'a window was not as full as it should be'; END$$;
\endif
