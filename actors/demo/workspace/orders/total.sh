# Reads "QUANTITY PRICE QUANTITY PRICE ...", writes the sum in cents.
while read -r line; do
  set -- $line
  sum=0
  while [ $# -ge 2 ]; do
    sum=$((sum + $1 * $2))
    shift
    shift
  done
  echo "$sum"
done
