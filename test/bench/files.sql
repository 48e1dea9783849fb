-- The files that COPY reads: payments as they arrive, payments with what was
-- decided, and decisions.
-- Variables: payments_file, full_payments_file, decisions_file.

COPY (SELECT payment_id, created_at, card_id, amount, currency, country,
			 card_country, category, channel, card_age_days
		FROM bench.input) TO :'payments_file';
COPY (SELECT * FROM bench.input) TO :'full_payments_file';
COPY (SELECT agentpay._uuid_v7(), clock_timestamp(), 'fraud', payment_id,
			 created_at, amount, currency, amount, 'rules', 'live', verdict,
			 CASE verdict WHEN 'approve' THEN 1 ELSE 0 END, score, reasons, 1,
			 jsonb_build_object('amount', amount,
				 'card_age_days', card_age_days, 'card_country', card_country,
				 'category', category, 'channel', channel, 'country', country,
				 'created_at', created_at), pg_current_xact_id()
		FROM bench.input) TO :'decisions_file';
