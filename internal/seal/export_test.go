package seal

// Fill stops Slot.Write after the temporary file is whole and before it has its name.
func (s *Slot) Fill(sealed string) error { return s.fill(sealed) }

// DecodeEntry lets the tests show the content of a file to its reader.
func DecodeEntry(uid, claimID string, text []byte) (Entry, error) {
	return decodeEntry(entryKey{uid: uid, claimID: claimID}, text)
}

// EncodeEntry is the content of the file that Slot.Write makes.
func EncodeEntry(e Entry) ([]byte, error) { return encodeEntry(e) }

// ParseFileName lets the tests show the name of a file to its reader.
func ParseFileName(name, suffix string) (uid, claimID string, ours bool) {
	key, ours := parseFileName(name, suffix)
	return key.uid, key.claimID, ours
}

// Unsynced counts what is written and not yet taken up by the background.
func (j *Journal) Unsynced() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.unsynced)
}

// DecodeHandOver lets the tests show the content of a hand-over to its reader.
func DecodeHandOver(text []byte) (HandOver, error) { return decodeHandOver(text) }
