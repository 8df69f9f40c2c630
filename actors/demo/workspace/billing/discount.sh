# Reads "CENTS PERCENT", writes the amount that is left to pay.
. lib/money.sh
while read -r amount percent; do
  permille_of "$amount" $((percent * 10))
  echo $((amount - cents))
done
