# Reads "PAID SHIPPED" (yes or no), writes what the customer is told.
while read -r paid shipped; do
  if [ "$paid" = yes ]; then
    if [ "$shipped" = yes ]; then
      echo "on its way"
    else
      echo "being packed"
    fi
  else
    if [ "$shipped" = yes ]; then
      echo "call us"
    else
      echo "waiting for payment"
    fi
  fi
done
