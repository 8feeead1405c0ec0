import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import {
  createKeyFile,
  type KeyFileOptions,
  openKeyFile,
  openOrCreateKeyFile,
} from '../../contracts/wallet/key-file.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'

const privateKey = sha256('key file')
const { identity } = new KeyWallet(privateKey)
const digest = sha256('digest')

/** Cheap enough for tests; the default cost is paid once. */
const cost = { N: 16, r: 8, p: 1 }
const passphrase = 'correct horse battery staple'

const newPath = (t: Test): string => join(t.testdir({}), 'identity.json')
const content = (path: string) => JSON.parse(readFileSync(path, 'utf8'))

async function newFile(t: Test, options: KeyFileOptions = {}): Promise<string> {
  const path = newPath(t)
  await createKeyFile(path, privateKey, { cost, ...options })
  return path
}

t.test('the key that was written is the key that is opened', async (t) => {
  for (const options of [{}, { passphrase }]) {
    const path = await newFile(t, options)
    const wallet = await openKeyFile(path, options)

    t.equal(wallet.identity, identity)
    t.strictSame(wallet.sign(digest), new KeyWallet(privateKey).sign(digest))
  }
})

t.test('a new file is for its owner only, and stands alone', async (t) => {
  const path = await newFile(t)

  t.equal(statSync(path).mode & 0o777, 0o600)
  t.strictSame(readdirSync(dirname(path)), ['identity.json'])
})

t.test('with a passphrase the key is not in the file, and guessing costs what was asked', async (t) => {
  const path = await newFile(t, { passphrase })

  t.equal(readFileSync(path, 'utf8').includes(toHex(privateKey)), false)
  t.match(content(path), { version: 1, identity, encryption: 'scrypt', cost })
})

t.test('by default guessing a passphrase costs 128 MiB', async (t) => {
  const path = await newFile(t, { passphrase, cost: undefined })

  t.strictSame(content(path).cost, { N: 131_072, r: 8, p: 1 })
  t.equal((await openKeyFile(path, { passphrase })).identity, identity)
})

t.test('a passphrase is what people see, not how a keyboard composes it', async (t) => {
  const path = await newFile(t, { passphrase: 'Zo\u00eb' })

  t.equal((await openKeyFile(path, { passphrase: 'Zoe\u0308' })).identity, identity)
})

t.test('a key file is never overwritten', async (t) => {
  const path = await newFile(t)
  const before = readFileSync(path, 'utf8')

  await t.rejects(createKeyFile(path, sha256('another')), { code: 'ERR_CONFLICT' })

  t.equal(readFileSync(path, 'utf8'), before)
  t.strictSame(readdirSync(dirname(path)), ['identity.json'])
})

t.test('of many that create one file at once, one succeeds', async (t) => {
  const path = newPath(t)
  const outcomes = await Promise.allSettled(
    ['a', 'b', 'c', 'd'].map((name) => createKeyFile(path, sha256(name))),
  )

  const created = outcomes.filter((outcome) => outcome.status === 'fulfilled')
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
  t.equal(created.length, 1)
  t.ok(refused.every(({ reason }) => reason.code === 'ERR_CONFLICT'))
  t.equal((await openKeyFile(path)).identity, created[0]?.value.identity)
})

t.test('of many that open or create one file at once, all get one key', async (t) => {
  const path = newPath(t)
  const open = () => openOrCreateKeyFile(path, { passphrase, cost })
  const wallets = await Promise.all([open(), open(), open(), open()])

  t.equal(new Set([...wallets, await open()].map((wallet) => wallet.identity)).size, 1)
  t.strictSame(readdirSync(dirname(path)), ['identity.json'])
})

t.test('opening or creating makes no second key when the first cannot be opened', async (t) => {
  const path = await newFile(t, { passphrase })

  await t.rejects(openOrCreateKeyFile(path), { code: 'ERR_FORBIDDEN' })
  await t.rejects(openOrCreateKeyFile(join(path, 'below'), {}), { code: 'ENOTDIR' })
  await t.rejects(openOrCreateKeyFile(join(dirname(path), 'absent', 'file')), { code: 'ENOENT' })
})

t.test('a file that is not there is not found', async (t) => {
  await t.rejects(openKeyFile(newPath(t)), { code: 'ERR_NOT_FOUND' })
})

t.test('a passphrase is needed, right, and not given in vain', async (t) => {
  const encrypted = await newFile(t, { passphrase })
  await t.rejects(openKeyFile(encrypted), { code: 'ERR_FORBIDDEN', message: /a passphrase is needed/ })
  await t.rejects(openKeyFile(encrypted, { passphrase: 'guess' }), {
    code: 'ERR_FORBIDDEN',
    message: /wrong passphrase/,
  })

  const plain = await newFile(t)
  await t.rejects(openKeyFile(plain, { passphrase }), { code: 'ERR_FORBIDDEN', message: /is not encrypted/ })
  await t.rejects(createKeyFile(newPath(t), privateKey, { passphrase: '' }), { code: 'ERR_MALFORMED' })
})

t.test('a file that others can use is refused until it is closed to them', async (t) => {
  const path = await newFile(t)
  for (const mode of [0o640, 0o604, 0o620, 0o601]) {
    chmodSync(path, mode)
    await t.rejects(openKeyFile(path), { code: 'ERR_FORBIDDEN', message: /chmod 600/ })
  }

  chmodSync(path, 0o600)
  t.equal((await openKeyFile(path)).identity, identity)
})

t.test('a damaged file is said to be damaged', async (t) => {
  const plain = content(await newFile(t))
  const encrypted = content(await newFile(t, { passphrase }))
  const other = new KeyWallet(sha256('another')).identity
  const damaged: Record<string, string> = {
    empty: '',
    'cut short': JSON.stringify(plain).slice(0, -9),
    'not an object': '7',
    'without version': JSON.stringify({ ...plain, version: undefined }),
    'of an unknown encryption': JSON.stringify({ ...plain, encryption: 'rot13' }),
    'with more than there should be': JSON.stringify({ ...plain, comment: '' }),
    'with a shorter key': JSON.stringify({ ...plain, privateKey: plain.privateKey.slice(2) }),
    'with another identity': JSON.stringify({ ...plain, identity: other }),
    'with a shorter tag': JSON.stringify({ ...encrypted, tag: encrypted.tag.slice(24) }),
    'too large': JSON.stringify({ ...plain, privateKey: '0'.repeat(5000) }),
  }
  for (const [what, text] of Object.entries(damaged)) {
    const path = newPath(t)
    writeFileSync(path, text, { mode: 0o600 })
    await t.rejects(openKeyFile(path), { code: 'ERR_MALFORMED', message: /is damaged/ }, what)
  }
})

t.test('an encrypted file of which anything was altered does not open', async (t) => {
  const encrypted = content(await newFile(t, { passphrase }))
  const flipped = (hex: string) => (hex.startsWith('0') ? '1' : '0') + hex.slice(1)
  const altered = [
    ...['salt', 'iv', 'ciphertext', 'tag'].map((name) => ({
      ...encrypted,
      [name]: flipped(encrypted[name]),
    })),
    { ...encrypted, identity: new KeyWallet(sha256('another')).identity },
    { ...encrypted, cost: { ...cost, N: 32 } },
  ]
  for (const file of altered) {
    const path = newPath(t)
    writeFileSync(path, JSON.stringify(file), { mode: 0o600 })
    await t.rejects(openKeyFile(path, { passphrase }), { code: 'ERR_FORBIDDEN' })
  }
})

t.test('a hostile file cannot ask for more memory or time than allowed', async (t) => {
  const encrypted = content(await newFile(t, { passphrase }))
  const hostile = [
    { N: 2 ** 30, r: 8, p: 1 },
    { N: 2 ** 17, r: 1024, p: 1 },
    { N: 2 ** 17, r: 8, p: 2 ** 20 },
    { N: 1000, r: 8, p: 1 },
    { N: 0, r: 8, p: 1 },
    { N: 16, r: 0, p: 1 },
    { N: 16, r: 8, p: 1.5 },
  ]
  for (const cost of hostile) {
    const path = newPath(t)
    writeFileSync(path, JSON.stringify({ ...encrypted, cost }), { mode: 0o600 })
    await t.rejects(openKeyFile(path, { passphrase }), { code: 'ERR_MALFORMED', message: /is damaged/ })
  }
})

t.test('a file of a newer version is not called damaged', async (t) => {
  const path = newPath(t)
  writeFileSync(path, JSON.stringify({ version: 2, vault: {} }), { mode: 0o600 })

  await t.rejects(openKeyFile(path), { code: 'ERR_MALFORMED', message: /newer version/ })
})
