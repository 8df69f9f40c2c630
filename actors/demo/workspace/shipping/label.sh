# Reads "ZIP CITY", writes the line of the label.
while read -r zip city; do
  echo "$zip $city"
done
