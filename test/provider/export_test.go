package provider

// BreakLedger makes every later write of the ledger fail.
func (s *Server) BreakLedger() { _ = s.ledger.file.Close() }
