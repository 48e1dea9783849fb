SELECT bench.pay(2, 2001, :from, :until, interval '3 days') \g /dev/null
