-- The point, without rules.
SELECT agentpay.attach('public.payments', point => 'fraud', role => 'fraud',
	id => 'payment_id', occurred_at => 'created_at', amount => 'amount',
	currency => 'currency', subject => 'card_id', outcome => 'outcome',
	score => 'risk_score', reasons => 'reasons');
UPDATE agentpay.rulesets SET thresholds = '{"review":50,"decline":100}'
 WHERE point = 'fraud';
