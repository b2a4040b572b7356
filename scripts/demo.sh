#!/usr/bin/env bash
# Starts an embedded cluster, loads the Star Schema Benchmark at scale factor 1, and runs its 13 queries.
# The server stays up until ctrl-c. Run again, it finds its data.
set -euo pipefail
cd "$(dirname "$0")/.."

bin="$CARGO_TARGET_DIR/release"
flight=127.0.0.1:9408
http=127.0.0.1:8030
log=tarn-demo.log

sql() { "$bin/tarn" sql --url "grpc://$flight" "$@"; }
scalar() { sql --format csv -e "$1" | tail -n +2; }

if (exec 3<>"/dev/tcp/${flight%:*}/${flight#*:}") 2>/dev/null; then
    echo "demo: something listens on $flight already; stop it first" >&2
    exit 1
fi

"$bin/tarn" dev --data ./tarn-data --flight "$flight" --http "$http" 2>"$log" &
server=$!
stop() {
    trap - EXIT INT TERM
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
}
trap stop EXIT
trap 'echo; echo "demo: stopping"; stop; exit 0' INT TERM

deadline=$((SECONDS + 60))
until scalar "select 1" >/dev/null 2>&1; do
    if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
        echo "demo: the server did not start; the end of $log:" >&2
        tail -n 20 "$log" >&2
        exit 1
    fi
    sleep 0.2
done
echo "demo: server up, data in ./tarn-data, log in $log"

# Written after the last load: a demo that was interrupted begins again.
loaded=tarn-data/demo-loaded
if [ -f "$loaded" ] && scalar "select 1 from ssb.lineorder limit 1" >/dev/null 2>&1; then
    echo "demo: the data is there already"
else
    if [ ! -f demo-data/complete ]; then
        echo "demo: generating the Star Schema Benchmark, scale factor 1, in ./demo-data"
        "$bin/tarn-ssb-gen" --scale 1 --out demo-data
        touch demo-data/complete
    fi
    echo "demo: creating tables and loading them"
    sql -e "drop database if exists ssb"
    sql -e "create database ssb"
    sql --database ssb -f bench/ssb/schema.sql
    sed "s|{data}|$PWD/demo-data|g" bench/ssb/load.sql | sql --database ssb -f -
    touch "$loaded"
fi

total=$(date +%s%N)
for file in tests/queries/ssb/q*.sql; do
    echo
    echo "== $(basename "$file" .sql)"
    sql --database ssb -f "$file"
done
echo
echo "demo: 13 queries in $((($(date +%s%N) - total) / 1000000)) ms, the client's starts included"

cat <<END

The server is up. To look around:

  $bin/tarn sql --database ssb

or in Python (pip install adbc-driver-flightsql adbc-driver-manager pyarrow):

  import adbc_driver_flightsql.dbapi as flight_sql
  conn = flight_sql.connect("grpc://$flight", db_kwargs={"username": "root", "password": ""}, autocommit=True)
  cursor = conn.cursor()
  cursor.execute("select count(*) from ssb.lineorder")
  print(cursor.fetch_arrow_table())

Metrics: http://$http/metrics. Stop with ctrl-c.
END
wait "$server"
