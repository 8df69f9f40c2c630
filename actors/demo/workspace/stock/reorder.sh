# Reads "HAVE WANT LOT", writes how many lots to order.
while read -r have want lot; do
  lots=0
  while [ $((have + lots * lot)) -lt "$want" ]; do
    lots=$((lots + 1))
  done
  echo "$lots"
done
