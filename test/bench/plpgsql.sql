-- The same rules as a trigger in PL/pgSQL, as one would write it by hand: it
-- reads the windows, decides, and writes the decision, since an AFTER trigger
-- could not know what BEFORE read.
-- Variables: merged (on: one query for each key; off: one for each window).

\if :merged
SELECT $$
	-- the row itself is not there yet, and counts
	SELECT 1 + count(*) FILTER (WHERE p.created_at
								> NEW.created_at - interval '1 day'),
		   NEW.amount + coalesce(sum(p.amount) FILTER (
				WHERE p.created_at > NEW.created_at - interval '7 days'), 0),
		   (NEW.amount + coalesce(sum(p.amount), 0)) / (1 + count(*))
	  INTO card_count_1d, card_sum_7d, card_avg_30d
	  FROM public.payments p
	 WHERE p.card_id = NEW.card_id
	   AND p.created_at > NEW.created_at - interval '30 days'
	   AND p.created_at <= NEW.created_at;
	SELECT 1 + count(*) FILTER (WHERE p.created_at
								> NEW.created_at - interval '1 day'),
		   NEW.amount + coalesce(sum(p.amount) FILTER (
				WHERE p.created_at > NEW.created_at - interval '7 days'), 0),
		   (NEW.amount + coalesce(sum(p.amount), 0)) / (1 + count(*))
	  INTO terminal_count_1d, terminal_sum_7d, terminal_avg_30d
	  FROM public.payments p
	 WHERE p.terminal_id = NEW.terminal_id
	   AND p.created_at > NEW.created_at - interval '30 days'
	   AND p.created_at <= NEW.created_at;$$ AS read \gset
\else
SELECT string_agg(format($$
	SELECT %s INTO %s
	  FROM public.payments p
	 WHERE p.%s = NEW.%3$s
	   AND p.created_at > NEW.created_at - interval %L
	   AND p.created_at <= NEW.created_at;$$, value, name, key, over), '')
	   AS read
  FROM (VALUES
	('1 + count(*)', 'card_count_1d', 'card_id', '1 day'),
	('NEW.amount + coalesce(sum(p.amount), 0)', 'card_sum_7d', 'card_id',
	 '7 days'),
	('(NEW.amount + coalesce(sum(p.amount), 0)) / (1 + count(*))',
	 'card_avg_30d', 'card_id', '30 days'),
	('1 + count(*)', 'terminal_count_1d', 'terminal_id', '1 day'),
	('NEW.amount + coalesce(sum(p.amount), 0)', 'terminal_sum_7d',
	 'terminal_id', '7 days'),
	('(NEW.amount + coalesce(sum(p.amount), 0)) / (1 + count(*))',
	 'terminal_avg_30d', 'terminal_id', '30 days')) AS f (value, name, key, over)
\gset
\endif

SELECT format($create$
CREATE FUNCTION bench.decide() RETURNS trigger
	LANGUAGE plpgsql
AS $$
DECLARE
	total numeric := 0;
	matched text[] := '{}';
	card_count_1d double precision;
	card_sum_7d double precision;
	card_avg_30d double precision;
	terminal_count_1d double precision;
	terminal_sum_7d double precision;
	terminal_avg_30d double precision;
BEGIN%s
	IF NEW.amount > 500 THEN
		total := total + 40;
		matched := matched || 'AMOUNT_LARGE'::text;
	END IF;
	IF NEW.amount >= 100 AND NEW.amount = trunc(NEW.amount) THEN
		total := total + 15;
		matched := matched || 'AMOUNT_ROUND'::text;
	END IF;
	IF card_count_1d >= 4 THEN
		total := total + 30;
		matched := matched || 'CARD_BUSY'::text;
	END IF;
	IF NEW.card_age_days < 7 THEN
		total := total + 15;
		matched := matched || 'CARD_NEW'::text;
	END IF;
	IF card_sum_7d > 1000 THEN
		total := total + 20;
		matched := matched || 'CARD_SPEND'::text;
	END IF;
	IF NEW.amount > 5 * card_avg_30d THEN
		total := total + 15;
		matched := matched || 'CARD_UNUSUAL'::text;
	END IF;
	IF NEW.country <> NEW.card_country THEN
		total := total + 20;
		matched := matched || 'COUNTRY_OTHER'::text;
	END IF;
	IF NEW.country IN ('NG', 'BR') THEN
		total := total + 25;
		matched := matched || 'COUNTRY_RISKY'::text;
	END IF;
	IF extract(hour FROM NEW.created_at) < 5 THEN
		total := total + 10;
		matched := matched || 'NIGHT'::text;
	END IF;
	IF terminal_count_1d >= 3 AND terminal_sum_7d > 5 * terminal_avg_30d THEN
		total := total + 15;
		matched := matched || 'TERMINAL_UNUSUAL'::text;
	END IF;
	NEW.risk_score := total;
	NEW.reasons := matched;
	NEW.outcome := CASE WHEN total >= 100 THEN 'decline'
						WHEN total >= 50 THEN 'review' ELSE 'approve' END;
	INSERT INTO bench.decisions (decision_id, decided_at, point, row_id,
		occurred_at, amount, currency, base_amount, kind, authority, verdict,
		propensity, score, reasons, ruleset_version, inputs, xid)
	VALUES (agentpay._uuid_v7(), clock_timestamp(), 'fraud',
		NEW.payment_id::text, NEW.created_at, NEW.amount, NEW.currency,
		NEW.amount, 'rules', 'live', NEW.outcome,
		CASE NEW.outcome WHEN 'approve' THEN 1 ELSE 0 END, NEW.risk_score,
		NEW.reasons, 1,
		jsonb_build_object('amount', NEW.amount,
			'card_age_days', NEW.card_age_days,
			'card_country', NEW.card_country, 'country', NEW.country,
			'created_at', NEW.created_at, 'card_count_1d', card_count_1d,
			'card_sum_7d', card_sum_7d, 'card_avg_30d', card_avg_30d,
			'terminal_count_1d', terminal_count_1d,
			'terminal_sum_7d', terminal_sum_7d,
			'terminal_avg_30d', terminal_avg_30d),
		pg_current_xact_id());
	RETURN NEW;
END$$;
CREATE TRIGGER decide BEFORE INSERT ON public.payments
	FOR EACH ROW EXECUTE FUNCTION bench.decide();
$create$, :'read') \gexec
