// Checks an export of Chancery's log with Go's packages for transparency logs, which know nothing of Chancery: the checkpoints'
// signatures, the root over all entries, each tile, an inclusion proof of each entry, and that the newest log begins with each
// one before.
//
//	verify_log DIR VKEY
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: verify_log DIR VKEY")
	}
	if err := verify(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func verify(dir, vkey string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	newest, err := checkpoint(filepath.Join(dir, "checkpoint"), verifier)
	if err != nil {
		return err
	}

	// The tree, made of nothing but the entries.
	var stored hashes
	var leaves []tlog.Hash
	for n := int64(0); n < newest.N; n += 256 {
		width := min(256, newest.N-n)
		data, err := os.ReadFile(path(dir, "tile/entries/", tlog.Tile{H: 8, L: 0, N: n / 256, W: int(width)}))
		if err != nil {
			return err
		}
		for range width {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("the bundle of entry %d is cut", len(leaves))
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			leaf := tlog.RecordHash(data[2:end])
			data = data[end:]
			more, err := tlog.StoredHashesForRecordHash(int64(len(leaves)), leaf, stored)
			if err != nil {
				return err
			}
			stored = append(stored, more...)
			leaves = append(leaves, leaf)
		}
		if len(data) != 0 {
			return fmt.Errorf("the bundle before entry %d goes on", len(leaves))
		}
	}
	root, err := tlog.TreeHash(newest.N, stored)
	if err != nil {
		return err
	}
	if root != newest.Hash {
		return fmt.Errorf("the root over %d entries is %v, the checkpoint says %v", newest.N, root, newest.Hash)
	}

	tiles := 0
	for _, tile := range tlog.NewTiles(8, 0, newest.N) {
		file, err := os.ReadFile(path(dir, fmt.Sprintf("tile/%d/", tile.L), tile))
		if err != nil {
			return err
		}
		made, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		if string(file) != string(made) {
			return fmt.Errorf("%s is not the tile of the entries", tile.Path())
		}
		tiles++
	}

	for n, leaf := range leaves {
		proof, err := tlog.ProveRecord(newest.N, int64(n), stored)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, newest.N, newest.Hash, int64(n), leaf); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
	}

	kept, err := filepath.Glob(filepath.Join(dir, "checkpoints", "*"))
	if err != nil {
		return err
	}
	if len(kept) == 0 {
		return errors.New("there is no earlier checkpoint to be consistent with")
	}
	for _, file := range kept {
		older, err := checkpoint(file, verifier)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(newest.N, older.N, stored)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, newest.N, newest.Hash, older.N, older.Hash); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	fmt.Printf("Go: %d entries, %d tiles, %d proofs of inclusion, %d of consistency\n",
		newest.N, tiles, len(leaves), len(kept))
	return nil
}

// hashes are stored in the order of the package: a HashReader over memory.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		if index >= int64(len(h)) {
			return nil, fmt.Errorf("hash %d was not made", index)
		}
		found = append(found, h[index])
	}
	return found, nil
}

// path is where C2SP tlog-tiles puts a tile: as the package does, without the height.
func path(dir, prefix string, tile tlog.Tile) string {
	_, place, _ := strings.Cut(strings.TrimPrefix(tile.Path(), "tile/8/"), "/")
	return filepath.Join(dir, filepath.FromSlash(prefix+place))
}

// checkpoint opens a signed note; the package reads the text of Go's own checkpoints only, which has another first line.
func checkpoint(file string, verifier note.Verifier) (tlog.Tree, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	signed, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("%s is not a checkpoint of %s", file, verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	return tlog.Tree{N: size, Hash: root}, nil
}
