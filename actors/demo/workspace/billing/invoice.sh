# Reads "NET TAX SHIPPING" in cents, writes the total as the invoice shows it.
. lib/money.sh
while read -r net tax shipping; do
  shown $((net + tax + shipping))
done
