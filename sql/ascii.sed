# Comments of sql/parts in ASCII, for the script that is installed.
/^[[:space:]]*--/ {
	s/─/-/g
	s/−/-/g
	s/–/-/g
	s/—/-/g
	s/…/.../g
	s/Σ/sum /g
	s/²/^2/g
	s/×/*/g
	s/π/pi/g
	s/√/sqrt /g
	s/→/->/g
	s/≤/<=/g
	s/±/+-/g
	s/ȳ/mean of y/g
	s/·/*/g
}
