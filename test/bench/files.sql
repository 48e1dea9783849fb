-- The files that COPY reads: payments as they arrive, payments with what was
-- decided, and decisions.
-- Variables: payments_file, full_payments_file, decisions_file; n rows after
-- the first skip.

COPY (SELECT payment_id, created_at, card_id, terminal_id, amount, currency,
			 country, card_country, category, channel, card_age_days
		FROM bench.input OFFSET :skip LIMIT :n) TO :'payments_file';
COPY (SELECT payment_id, created_at, card_id, terminal_id, amount, currency,
			 country, card_country, category, channel, card_age_days, verdict,
			 score, reasons
		FROM bench.input OFFSET :skip LIMIT :n) TO :'full_payments_file';
COPY (SELECT agentpay._uuid_v7(), clock_timestamp(), 'fraud', payment_id,
			 created_at, amount, currency, amount, 'rules', 'live', verdict,
			 CASE verdict WHEN 'approve' THEN 1 ELSE 0 END, score, reasons, 1,
			 jsonb_build_object('amount', amount,
				 'card_age_days', card_age_days, 'card_country', card_country,
				 'country', country, 'created_at', created_at,
				 'card_count_1d', card_count_1d, 'card_sum_7d', card_sum_7d,
				 'card_avg_30d', card_avg_30d,
				 'terminal_count_1d', terminal_count_1d,
				 'terminal_sum_7d', terminal_sum_7d,
				 'terminal_avg_30d', terminal_avg_30d), pg_current_xact_id()
		FROM bench.input OFFSET :skip LIMIT :n) TO :'decisions_file';
