INSERT INTO public.payments (payment_id, created_at, card_id, terminal_id,
	amount, currency, country, card_country, category, channel, card_age_days)
SELECT payment_id, created_at, card_id, terminal_id, amount, currency, country,
	   card_country, category, channel, card_age_days
  FROM bench.input
 LIMIT :n;
