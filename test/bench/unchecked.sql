-- Takes the CHECK constraints off the floor's table of decisions.
DO $$
DECLARE
	name name;
BEGIN
	FOR name IN
		SELECT conname FROM pg_constraint
		 WHERE conrelid = 'bench.decisions'::regclass AND contype = 'c'
	LOOP
		EXECUTE format('ALTER TABLE bench.decisions DROP CONSTRAINT %I', name);
	END LOOP;
	IF EXISTS (SELECT FROM pg_constraint c
				 JOIN pg_inherits i ON i.inhrelid = c.conrelid
				WHERE i.inhparent = 'bench.decisions'::regclass
				  AND c.contype = 'c') THEN
		RAISE EXCEPTION 'a partition kept its CHECK constraints';
	END IF;
END$$;
