package main

import "strings"

// suggest returns the word that was probably meant, or "".
func suggest(word string, words []string) string {
	word = strings.ToLower(word)
	best, least := "", 3 // more slips than two, and it is another word
	for _, w := range words {
		if len(word) > 1 && strings.HasPrefix(w, word) {
			return w
		}
		if d := distance(word, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best != "" {
		return best
	}
	for _, w := range words {
		if _, name, ok := strings.Cut(w, "."); ok && name == word {
			return w
		}
	}
	return ""
}

// distance counts the letters to insert, remove, replace or swap with their
// neighbour that make b of a.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
