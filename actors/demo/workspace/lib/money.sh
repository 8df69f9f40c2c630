# Money is counted in whole cents. Sourced by the modules; needs nothing but the shell.

# permille_of CENTS RATE: sets `cents` to that many thousandths of the amount, half a cent rounded up.
permille_of() {
  cents=$((($1 * $2 + 500) / 1000))
}

# shown CENTS: writes the amount as people read it.
shown() {
  printf '%d.%02d\n' $(($1 / 100)) $(($1 % 100))
}
