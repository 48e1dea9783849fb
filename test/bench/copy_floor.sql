COPY public.payments FROM :'full_payments_file';
COPY bench.decisions (decision_id, decided_at, point, row_id, occurred_at,
	amount, currency, base_amount, kind, authority, verdict, propensity, score,
	reasons, ruleset_version, inputs, xid) FROM :'decisions_file';
