SELECT bench.pay(1, 1, :from, :until, interval '30 days' / 1000000) \g /dev/null
