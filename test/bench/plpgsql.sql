-- The same rules as triggers in PL/pgSQL, as one would write them by hand:
-- BEFORE decides, AFTER writes the decision. With windows, BEFORE writes it:
-- AFTER cannot know what BEFORE read, and would have to read it again.
-- Variables: windows.

SELECT '' AS declare_windows, '' AS read_windows, '' AS rules_windows,
	   '' AS inputs_windows, '' AS record_windows \gset

\if :windows
SELECT $$
	count_1h double precision;
	sum_24h double precision;
	since_last double precision;$$ AS declare_windows,
$$
	-- the row itself is not there yet, and counts
	SELECT 1 + count(*) FILTER (WHERE p.created_at
								> NEW.created_at - interval '1 hour'),
		   NEW.amount + coalesce(sum(p.amount), 0),
		   extract(epoch FROM NEW.created_at - max(p.created_at))
	  INTO count_1h, sum_24h, since_last
	  FROM public.payments p
	 WHERE p.card_id = NEW.card_id
	   AND p.created_at > NEW.created_at - interval '24 hours'
	   AND p.created_at <= NEW.created_at;
	IF since_last IS NULL THEN
		SELECT extract(epoch FROM NEW.created_at - p.created_at)
		  INTO since_last FROM public.payments p
		 WHERE p.card_id = NEW.card_id AND p.created_at <= NEW.created_at
		 ORDER BY p.created_at DESC LIMIT 1;
	END IF;$$ AS read_windows,
$$
	IF count_1h >= 2 THEN
		total := total + 30;
		matched := matched || 'WINDOW_COUNT'::text;
	END IF;
	IF since_last < 600 THEN
		total := total + 15;
		matched := matched || 'WINDOW_SOON'::text;
	END IF;
	IF sum_24h > 1000 THEN
		total := total + 25;
		matched := matched || 'WINDOW_SUM'::text;
	END IF;$$ AS rules_windows,
$$, 'count_1h', count_1h, 'sum_24h', sum_24h,
			'since_last', since_last$$ AS inputs_windows \gset
\endif

SELECT format($record$
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
			'card_country', NEW.card_country, 'category', NEW.category,
			'channel', NEW.channel, 'country', NEW.country,
			'created_at', NEW.created_at%s),
		pg_current_xact_id());$record$, :'inputs_windows') AS record \gset
\if :windows
\set record_windows :record
\endif

SELECT format($create$
CREATE FUNCTION bench.decide() RETURNS trigger
	LANGUAGE plpgsql
AS $$
DECLARE
	total numeric := 0;
	matched text[] := '{}';%s
BEGIN%s
	IF NEW.amount > 1500 THEN
		total := total + 40;
		matched := matched || 'AMOUNT_HUGE'::text;
	END IF;
	IF NEW.amount > 500 THEN
		total := total + 40;
		matched := matched || 'AMOUNT_LARGE'::text;
	END IF;
	IF NEW.amount >= 100 AND NEW.amount = trunc(NEW.amount) THEN
		total := total + 15;
		matched := matched || 'AMOUNT_ROUND'::text;
	END IF;
	IF NEW.amount < 1 THEN
		total := total + 5;
		matched := matched || 'AMOUNT_TINY'::text;
	END IF;
	IF NEW.card_age_days < 7 THEN
		total := total + 15;
		matched := matched || 'CARD_NEW'::text;
	END IF;
	IF NEW.category IN (7995, 6051) THEN
		total := total + 25;
		matched := matched || 'CATEGORY_RISKY'::text;
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
	IF NEW.channel = 'web' AND NEW.amount > 100 THEN
		total := total + 10;
		matched := matched || 'WEB_LARGE'::text;
	END IF;%s
	NEW.risk_score := total;
	NEW.reasons := matched;
	NEW.outcome := CASE WHEN total >= 100 THEN 'decline'
						WHEN total >= 50 THEN 'review' ELSE 'approve' END;%s
	RETURN NEW;
END$$;
CREATE TRIGGER decide BEFORE INSERT ON public.payments
	FOR EACH ROW EXECUTE FUNCTION bench.decide();
$create$, :'declare_windows', :'read_windows', :'rules_windows',
	:'record_windows') \gexec

\if :windows
\else
SELECT format($create$
CREATE FUNCTION bench.record() RETURNS trigger
	LANGUAGE plpgsql
AS $$
BEGIN%s
	RETURN NULL;
END$$;
CREATE TRIGGER record AFTER INSERT ON public.payments
	FOR EACH ROW EXECUTE FUNCTION bench.record();
$create$, :'record') \gexec
\endif
