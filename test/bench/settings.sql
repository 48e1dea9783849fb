-- The settings that matter here, in one line.
SELECT 'PostgreSQL ' || current_setting('server_version') || ': '
	   || string_agg(s || ' = ' || current_setting(s), ', ' ORDER BY s)
  FROM unnest(ARRAY['autovacuum', 'checkpoint_timeout', 'fsync',
					'full_page_writes', 'jit', 'max_wal_size',
					'shared_buffers', 'wal_compression', 'wal_level']) AS s;
