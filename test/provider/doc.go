// Package provider is an OAuth 2.0 authorization server with a small resource API, made to be wrong-footed by.
//
// It plays two contracts to the letter, SmartBusiness (JSON bodies) and Smartbills (form bodies), and refuses every
// request that departs from them, where a lenient server would let the mistake pass. It can be told to misbehave: to
// answer late, never, in part, or with something else. Everything that it does to a token is written to a ledger,
// which tests, benchmarks and the demo take as the truth about what was issued, spent, reused and called.
//
// It must never write a token, a code or a client secret to the ledger, only fingerprints, and it must never reply to a
// token request whose effects are not in the ledger yet. It holds its tokens in memory and forgets them when it
// ends: it is for loopback and tests, not for anything that somebody relies on.
package provider
