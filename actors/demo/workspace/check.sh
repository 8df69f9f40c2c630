# Runs every module on its samples and prints one line of JSON. Needs nothing but a POSIX shell.
#
# The two counts grow from run to run, as those of a program in use do, so that the difference between two readings
# is what happened in between. Each run adds a line of its own: runs at the same time do not disturb each other.
state=.metrics
[ -d "$state" ] || mkdir -p "$state"
newline='
'

# now: sets `now` to hundredths of a second; whole seconds where there is no /proc.
now() {
  if read -r up _ 2>/dev/null < /proc/uptime; then
    fraction=${up#*.}
    now=$((${up%.*} * 100 + ${fraction#0}))
  else
    now=$(($(date +%s) * 100))
  fi
}

# samples MODULE NAME: adds one to `runs` for each sample, and one to `errors` for each answer that differs.
samples() {
  got=$(sh "$1" 2>/dev/null < "$2.in")
  while IFS= read -r want; do
    runs=$((runs + 1))
    [ "${got%%"$newline"*}" = "$want" ] || errors=$((errors + 1))
    case $got in
      *"$newline"*) got=${got#*"$newline"} ;;
      *) got= ;;
    esac
  done < "$2.out"
}

runs=0
errors=0
slowest=0
for module in billing/*.sh orders/*.sh shipping/*.sh stock/*.sh; do
  name=samples/${module%.sh}
  [ -f "$name.in" ] || continue
  now
  begun=$now
  samples "$module" "$name"
  now
  [ $((now - begun)) -gt "$slowest" ] && slowest=$((now - begun))
done

echo "$errors $runs" >> "$state/counts"
all_errors=0
all_runs=0
while read -r e r; do
  all_errors=$((all_errors + e))
  all_runs=$((all_runs + r))
done < "$state/counts"

# cpu_time: sets `cpu` to the milliseconds that this run and its modules have used.
cpu_time() {
  times > "$state/times.$$"
  cpu=0
  while read -r user system; do
    for part in "$user" "$system"; do
      seconds=${part#*m}
      seconds=${seconds%s}
      fraction=${seconds#*.}000
      case $seconds in *.*) ;; *) fraction=000 ;; esac
      fraction=${fraction%"${fraction#???}"}
      while [ "${fraction#0}" != "$fraction" ] && [ ${#fraction} -gt 1 ]; do fraction=${fraction#0}; done
      cpu=$((cpu + ${part%m*} * 60000 + ${seconds%%.*} * 1000 + fraction))
    done
  done < "$state/times.$$"
  rm -f "$state/times.$$"
}
cpu_time

# peak: sets `peak` to the most memory this shell has held, in kB.
peak=1024
if [ -r /proc/$$/status ]; then
  while read -r key value _; do
    [ "$key" = VmHWM: ] && peak=$value
  done < /proc/$$/status
fi

# cpu_usage: of one core, at one check a second. With eight modules the 95th percentile is the slowest one. A second of
# CPU costs a cent. There is no success_rate: it follows from the counts, and what is derived is not judged twice.
printf '{"error_count":%d,"execution_count":%d,"latency_p95_ms":%d,"cpu_usage":%d.%d,"memory":%d.%02d,"cost_cents":%d.%03d}\n' \
  "$all_errors" "$all_runs" $((slowest * 10)) $((cpu / 10)) $((cpu % 10)) \
  $((peak / 1024)) $((peak % 1024 * 100 / 1024)) $((cpu / 1000)) $((cpu % 1000))
