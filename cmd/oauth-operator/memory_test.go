package main

import (
	"math"
	"runtime/debug"
	"testing"
)

// The limit is one of the whole process, so this does not run in parallel.
func TestTheMemoryOfTheContainerIsNotExceeded(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for name, c := range map[string]struct {
		environment map[string]string
		want        int64
	}{
		"a limit":                    {map[string]string{"MEMORY_LIMIT": "536870912"}, 483183819},
		"none":                       {nil, math.MaxInt64},
		"one that is no number":      {map[string]string{"MEMORY_LIMIT": "512Mi"}, math.MaxInt64},
		"one below nothing":          {map[string]string{"MEMORY_LIMIT": "-1"}, math.MaxInt64},
		"somebody has set their own": {map[string]string{"MEMORY_LIMIT": "536870912", "GOMEMLIMIT": "100MiB"}, math.MaxInt64},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		returned := limitMemory(func(name string) string { return c.environment[name] })
		if got := debug.SetMemoryLimit(-1); got/10*10 != c.want/10*10 || returned != 0 && returned != got {
			t.Errorf("%s: the limit is %d, and it says %d; want %d", name, got, returned, c.want)
		}
	}
}
