package provider

import "time"

// rotate is the ordinary use of a live refresh token.
func (s *tokenStore) rotate(answer *result, want wanted, now time.Time) {
	spent := want.parent
	kind := want.registration.Reuse.Kind
	reusable := kind == Reusable || kind == ReusableRenewed
	if !reusable {
		spent.spent, spent.ended = true, now
		spent.lineage.lastSpent = spent
		event := answer.about
		event.Kind = KindSpent
		answer.effects = append(answer.effects, event)
	}
	made, issued := s.issue(want, now)
	if !reusable {
		spent.successor = made.refresh
	}
	answer.tokens, answer.effects = made, append(answer.effects, issued)
}

// reuse is what the policy says about a refresh token that was spent, or superseded, before.
func (s *tokenStore) reuse(answer *result, want wanted, now time.Time) {
	presented := want.parent
	event := answer.about
	event.Kind, event.Outcome, event.Reason = KindReused, Refused, "refresh_token"
	if !inGrace(presented, now) {
		answer.refused = badRequest("invalid_grant", "reused_refresh_token")
		answer.effects = append([]Entry{event}, s.punish(presented, now)...)
		return
	}
	event.Outcome = Granted
	answer.effects = append(answer.effects, event)
	switch presented.registration.Reuse.Kind {
	case GraceSameSuccessor:
		want.newRefresh, want.sameRefresh = false, presented.successor
	case GraceOnlyLast:
		answer.effects = append(answer.effects, s.supersede(presented.lineage, now)...)
	default: // GraceSeveral: one more beside the others
	}
	made, issued := s.issue(want, now)
	answer.tokens, answer.effects = made, append(answer.effects, issued)
}

// inGrace reports whether the token was spent so lately, and nothing after it, that the policy forgives it.
func inGrace(t *token, now time.Time) bool {
	return t.spent && !t.revoked && t.lineage.lastSpent == t && now.Sub(t.ended) < t.registration.Reuse.Grace
}

// supersede ends the live refresh tokens of a lineage. Their access tokens stay.
func (s *tokenStore) supersede(of *lineage, now time.Time) []Entry {
	var entries []Entry
	for _, each := range of.tokens {
		if !each.refresh || !each.live() {
			continue
		}
		each.superseded, each.ended = true, now
		entry := s.about(KindRevoked, of.registration, of)
		entry.RefreshFingerprint, entry.Reason = Fingerprint(each.value), "superseded"
		entries = append(entries, entry)
	}
	return entries
}

// punish is what follows a reuse that nothing excuses.
func (s *tokenStore) punish(presented *token, now time.Time) []Entry {
	policy := presented.registration.Reuse
	kind := policy.Kind
	if policy.Grace > 0 {
		kind = policy.AfterGrace
	}
	const reason = "refresh_token_reused"
	switch kind {
	case RevokeFamily:
		return s.revokeLineage(presented.lineage, reason, now)
	case RevokeUser:
		return s.revokeUser(presented.registration, presented.lineage.user, reason, now)
	default: // Strict: the refusal is all
		return nil
	}
}
