-- pgbench's script for one sample: the payment, at some second of the sample's
-- hour, of some card at some terminal; for the floor its decision, too, in one
-- pipeline, so in the same transaction and the same round trip.
-- Variables: sample, floor.

SELECT format($$timestamptz '%s' + :second * interval '1 second'$$,
			  date_trunc('hour', created_at, 'UTC')) AS moment
  FROM bench.samples WHERE sample = :sample \gset

SELECT format($$\set card random(1, 100000)
\set terminal random(1, 100000)
\set second random(0, 3599)
$$)
\g (tuples_only=on format=unaligned)

\if :floor
\qecho '\\startpipeline'
\endif

SELECT format($$INSERT INTO public.payments (created_at, card_id, terminal_id,
 amount, currency, country, card_country, category, channel, card_age_days%s)
 VALUES (%s, :card, :terminal, %s, %L, %L, %L, %s, %L, %s%s);$$,
			  CASE WHEN :'floor' = 'on' THEN ', outcome, risk_score, reasons' END,
			  :'moment', amount, currency, country, card_country, category,
			  channel, card_age_days,
			  CASE WHEN :'floor' = 'on' THEN format(', %L, %s, %L', verdict, score,
											 reasons) END)
  FROM bench.samples WHERE sample = :sample
\g (tuples_only=on format=unaligned)

\if :floor
SELECT format($$INSERT INTO bench.decisions (decision_id, decided_at, point,
 row_id, occurred_at, amount, currency, base_amount, kind, authority, verdict,
 propensity, score, reasons, ruleset_version, inputs, xid)
 VALUES (agentpay._uuid_v7(), clock_timestamp(), 'fraud',
 currval('public.payments_payment_id_seq')::text, %1$s, %2$s, %3$L, %2$s,
 'rules', 'live', %4$L, %5$s, %6$s, %7$L, 1,
 jsonb_build_object('amount', %2$s::numeric, 'card_age_days', %8$s,
 'card_country', %9$L::text, 'country', %10$L::text, 'created_at', %1$s,
 'card_count_1d', %11$s, 'card_sum_7d', %12$s, 'card_avg_30d', %13$s,
 'terminal_count_1d', %14$s, 'terminal_sum_7d', %15$s,
 'terminal_avg_30d', %16$s), pg_current_xact_id());$$,
			  :'moment', amount, currency, verdict,
			  CASE verdict WHEN 'approve' THEN 1 ELSE 0 END, score, reasons,
			  card_age_days, card_country, country, card_count_1d, card_sum_7d,
			  card_avg_30d, terminal_count_1d, terminal_sum_7d,
			  terminal_avg_30d)
  FROM bench.samples WHERE sample = :sample
\g (tuples_only=on format=unaligned)
\qecho '\\endpipeline'
\endif
