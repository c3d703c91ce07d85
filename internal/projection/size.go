package projection

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// maxSecretBytes is how large the content of a token Secret may become: half of what the API server takes.
	maxSecretBytes = 512 << 10
	// maxSubstitutionBytes is how large a value may become that is put into a text.
	maxSubstitutionBytes = 64 << 10
	// maxKeyBytes is the longest key of a Secret.
	maxKeyBytes = 253

	// MaxTokenBytes is the longest access token that is accepted from a provider.
	MaxTokenBytes = 16 << 10
	// MaxScopeBytes is the longest list of scopes that can be in a credential: as many as a spec can ask for, of the
	// longest that there are, with a space between each two.
	MaxScopeBytes = 100*256 + 99
	// MaxOnBehalfOfBytes is the longest name of a connected account, and of the header that names it.
	MaxOnBehalfOfBytes = 256
)

// largest are the default keys, and the size of the largest value of each.
func largest() map[string]int {
	authorization := len("Bearer ") + MaxTokenBytes
	return map[string]int{
		keyAccessToken: MaxTokenBytes, keyTokenType: len("Bearer"), keyAuthorization: authorization,
		keyExpiresAt: len("2006-01-02T15:04:05Z"), keyScope: MaxScopeBytes, keyOnBehalfOf: MaxOnBehalfOfBytes,
		keyHeaders: len("Authorization: ") + authorization + len("\n") + MaxOnBehalfOfBytes + len(": ") + MaxOnBehalfOfBytes + len("\n"),
	}
}

// checkSize finds a Secret that could become too large, if the token, the scopes and all that is put in are as long as they
// can be: it is said before a token is asked for, and does not depend on which one comes.
func (l *Layout) checkSize() *Fault {
	sizes, put := largest(), map[part]int{}
	sum := 0
	for key, size := range sizes {
		sum += len(key) + size
	}
	for _, texts := range []map[string]text{l.first, l.second} {
		made := map[string]int{}
		for _, key := range slices.Sorted(maps.Keys(texts)) {
			size, fault := l.size(key, texts[key], sizes, put)
			if fault != nil {
				return fault
			}
			made[key] = size
			if sum += len(key) + size; sum > maxSecretBytes {
				return tooLarge("the Secret could grow beyond %d KiB, which is found at spec.secret.data[%s]: write fewer references to the token, each of which counts as the longest token of %d KiB, or spread them over two accounts",
					maxSecretBytes>>10, key, MaxTokenBytes>>10)
			}
		}
		maps.Copy(sizes, made)
	}
	return nil
}

// size is the largest that a text can become. It stops where that is too much. What it has found out of a value that is put
// in, it keeps for the next reference to it.
func (l *Layout) size(key string, t text, sizes map[string]int, put map[part]int) (int, *Fault) {
	sum := 0
	for _, p := range t {
		if p.name == "" {
			sum += len(p.literal)
			continue
		}
		size, known := put[p]
		if composed, is := l.first[p.name]; !known && is {
			size = composed.encoded(p.format, sizes)
		} else if !known {
			size = encoded(p.format, sizes[p.name])
		}
		put[p] = size
		if size > maxSubstitutionBytes {
			return 0, tooLarge("spec.secret.data[%s] puts in $(%s.%s), which could grow beyond %d KiB: write less into %s", key, p.name, p.format, maxSubstitutionBytes>>10, p.name)
		}
		if sum += size; sum > maxSecretBytes {
			break
		}
	}
	return sum, nil
}

// encoded is the largest that the whole text can become in a format: what is written in it is known, and may be anything.
func (t text) encoded(format string, sizes map[string]int) int {
	sum := 0
	for _, p := range t {
		if p.name == "" {
			sum += len(encode(format, p.literal))
		} else {
			sum += encoded(format, encoded(p.format, sizes[p.name]))
		}
	}
	return sum
}

func tooLarge(format string, arguments ...any) *Fault {
	return &Fault{Reason: v1alpha1.ReasonSecretTooLarge, Message: fmt.Sprintf(format, arguments...)}
}
