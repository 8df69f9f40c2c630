# Reads "GRAMS ZONE", writes the price of the parcel in cents.
. lib/money.sh
while read -r grams zone; do
  price=390
  [ "$grams" -gt 1000 ] && price=590
  [ "$grams" -gt 5000 ] && price=990
  [ "$zone" = abroad ] && price=$((price * 2))
  echo "$price"
done
