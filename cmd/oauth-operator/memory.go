package main

import (
	"runtime/debug"
	"strconv"
)

// memoryLimitVariable is where the Deployment says how many bytes of memory the container may use.
const memoryLimitVariable = "MEMORY_LIMIT"

// limitMemory has the garbage collector work harder before the kernel kills the process for its memory: whoever is killed between
// a token request and its answer may lose a refresh token. A tenth is left to what the runtime does not count, such as the
// kernel's buffers of connections. GOMEMLIMIT, which the runtime reads itself, goes before. It returns the limit; 0: none was set.
func limitMemory(getenv func(string) string) int64 {
	bytes, err := strconv.ParseInt(getenv(memoryLimitVariable), 10, 64)
	if err != nil || bytes <= 0 || getenv("GOMEMLIMIT") != "" {
		return 0
	}
	limit := bytes / 10 * 9
	debug.SetMemoryLimit(limit)
	return limit
}
