/** A backup is whole or absent, the newest state or the one before, and nobody else's. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { BackupFile, makeBackup, readBackup, readBackupFile } from '../../contracts/wallet/backup/backup.ts'
import { CoinStore } from '../../contracts/wallet/coins/store.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import type { Row } from '../../contracts/wallet/coins/batch.ts'
import type { Network } from '../../contracts/chain/chain.ts'
import { startMs } from '../fixtures/chain.ts'
import { keysOf } from '../fixtures/wallet-sync.ts'

const alice = keysOf('alice')
const now = () => startMs
const of = { keys: alice, network: 'devnet' } as const

async function openStore(t: Test, name = 'coins', keys: KeyWallet = alice, network: Network = 'devnet') {
  const store = await CoinStore.open(join(t.testdirName, name), { identity: keys.identity, network, now })
  t.teardown(() => store.close())
  return { keys, store, now }
}

async function rowsOf(store: CoinStore): Promise<Row[]> {
  const rows: Row[] = []
  for await (const row of store.rows()) rows.push(row)
  return rows
}

/** A change like any other. */
const use = ({ store }: { store: CoinStore }) => store.change((batch) => void batch.next('receive'))

t.test('what is read is what was written: every row, whose, of when', async (t) => {
  t.testdir()
  const parts = await openStore(t)
  await use(parts)
  const bytes = await makeBackup(parts, 7)

  const { header, rows } = await readBackup(bytes, of)

  t.match(header, { identity: alice.identity, network: 'devnet', sequence: 7, taken: startMs })
  t.same(header.counts, { receive: 1, change: 0, stake: 0, action: 0, coin: 0 })
  t.same(rows, await rowsOf(parts.store))
  t.notMatch(Buffer.from(bytes).toString('latin1'), alice.identity, 'nothing of it is to be read')
})

t.test('torn at any place, changed at any place, of another key or network: refused', async (t) => {
  t.testdir()
  const parts = await openStore(t)
  await use(parts)
  const bytes = await makeBackup(parts, 1)

  for (let length = 0; length < bytes.length; length += length < 200 ? 7 : 100)
    await t.rejects(readBackup(bytes.subarray(0, length), of), { code: 'ERR_MALFORMED' }, `${length} bytes`)
  for (let at = 0; at < bytes.length; at += 11) {
    const changed = Uint8Array.from(bytes)
    changed[at]! ^= 1
    await t.rejects(readBackup(changed, of), { code: 'ERR_MALFORMED' }, `byte ${at}`)
  }
  await t.rejects(readBackup(Uint8Array.of(...bytes, 0), of), { code: 'ERR_MALFORMED' })
  await t.rejects(readBackup(bytes, { ...of, keys: keysOf('bob') }), { code: 'ERR_MALFORMED' })
  await t.rejects(readBackup(bytes, { ...of, network: 'main' }), { code: 'ERR_CONFLICT' })
})

t.test('under 200 changes the file is whole at every moment, and has the last one in the end', async (t) => {
  const path = join(t.testdir(), 'wallet.backup')
  const parts = await openStore(t)
  const file = await BackupFile.open(path, parts)
  const seen: number[] = []

  const changes: Promise<unknown>[] = []
  for (let left = 200; left > 0; left--) {
    changes.push(use(parts))
    if (left % 20 === 0) {
      await changes.at(-1)
      seen.push((await readBackupFile(path, of)).header.counts.receive)
      await file.flushed()
      const { counts } = (await readBackupFile(path, of)).header
      t.ok(counts.receive > 200 - left, 'what was there when flushed was called is on disk')
    }
  }
  await Promise.all(changes)
  await file.close()

  const { header, rows } = await readBackupFile(path, of)
  t.equal(header.counts.receive, 200)
  t.same(rows, await rowsOf(parts.store))
  t.ok(header.sequence - startMs < 200, 'changes that come together are written together')
  t.same(
    seen,
    seen.toSorted((a, b) => a - b),
  )
  t.same(readdirSync(t.testdirName).sort(), ['coins', 'wallet.backup'])

  const again = await BackupFile.open(path, parts)
  t.equal(again.sequence, header.sequence + 1, 'it goes on where it was')
  t.equal((await readBackup(await again.export(), of)).header.sequence, header.sequence + 2)
  await again.close()
})

t.test('a file that is no backup, somebody else’s, or ahead of the coins is not replaced', async (t) => {
  const path = join(t.testdir({ 'photo.jpg': 'not a backup' }), 'wallet.backup')
  const parts = await openStore(t)
  await use(parts)
  await (await BackupFile.open(path, parts)).close()
  const before = readFileSync(path)
  const fresh = await openStore(t, 'fresh')
  const bob = await openStore(t, 'bob', keysOf('bob'))
  const main = await openStore(t, 'main', alice, 'main')

  for (const other of [fresh, bob, main])
    await t.rejects(BackupFile.open(path, other), { code: 'ERR_CONFLICT' })
  await t.rejects(BackupFile.open(join(t.testdirName, 'photo.jpg'), parts), { code: 'ERR_CONFLICT' })

  t.same(readFileSync(path), before)
  t.equal(readFileSync(join(t.testdirName, 'photo.jpg'), 'utf8'), 'not a backup')
})

t.test('a backup that cannot be written is reported, and made up for', async (t) => {
  const path = join(t.testdir({ usb: {} }), 'usb', 'wallet.backup')
  const parts = await openStore(t)
  await t.rejects(BackupFile.open(join(t.testdirName, 'none', 'wallet.backup'), parts), {
    code: 'ERR_INTERNAL',
  })
  const file = await BackupFile.open(path, parts)
  const temporary = join(t.testdirName, 'usb', '.wallet.backup.tmp')
  // A directory where the file is to be written: whoever runs this, no permission helps.
  const { mkdirSync, rmdirSync } = await import('node:fs')
  mkdirSync(temporary)

  await use(parts)
  await t.rejects(file.flushed(), { code: 'ERR_INTERNAL' })
  t.ok(file.failure)
  rmdirSync(temporary)
  await file.flushed()

  t.equal(file.failure, undefined)
  t.equal((await readBackupFile(path, of)).header.counts.receive, 1)
  await file.close()
  writeFileSync(path, readFileSync(path).subarray(0, 60))
  await t.rejects(BackupFile.open(path, parts), { code: 'ERR_CONFLICT' })
  await t.rejects(readBackupFile(join(t.testdirName, 'none'), of), { code: 'ERR_NOT_FOUND' })
})

t.test('a backup that could not be begun is not written by later changes', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'none', 'wallet.backup')
  const parts = await openStore(t)
  await t.rejects(BackupFile.open(path, parts), { code: 'ERR_INTERNAL' })
  let told = 0
  const { exclusive } = parts.store
  parts.store.exclusive = (run) => {
    told++
    return exclusive.call(parts.store, run) as ReturnType<typeof run>
  }

  await use(parts)

  t.equal(told, 1, 'the change alone: no backup is read for it')
})

t.test('a later backup has the greater sequence, in whatever file it is', async (t) => {
  const folder = t.testdir()
  const store = await openStore(t)
  let clock = startMs
  const parts = { ...store, now: () => clock }
  const first = await BackupFile.open(join(folder, 'first'), parts)
  clock += 5
  const second = await BackupFile.open(join(folder, 'second'), parts)

  t.ok(second.sequence > first.sequence)
  clock -= 1000
  await use(store)
  await first.flushed()
  t.equal(first.sequence, startMs + 1, 'also when the clock goes back')
  await first.close()
  await second.close()
})
