/**
 * One private key in one file, for its owner's eyes only: mode 0600, encrypted when a passphrase is given.
 * A file that exists is never written to; a crash leaves the whole file or none.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto'
import { type FileHandle, link, open, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { concat, fromHex, toHex, toUtf8 } from '../../market/bytes.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { Hash, Key } from '../../market/units.ts'
import { KeyWallet } from './key-wallet.ts'

const limits = {
  fileBytes: 4096,
  /** What deriving a key may take, whatever a file asks for: scrypt needs 128 · N · r bytes, p times over. */
  scryptBytes: 256 * 1024 * 1024,
  scryptPasses: 4,
} as const

/** About 0.4 s and 128 MiB for every guess at a passphrase. */
const defaultCost = { N: 2 ** 17, r: 8, p: 1 }

const hex = (bytes: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `not ${bytes} bytes of hex`)

const Cost = z
  .strictObject({
    N: z
      .int()
      .min(2)
      .refine((N) => Number.isInteger(Math.log2(N)), { error: 'not a power of two' }),
    r: z.int().min(1),
    p: z.int().min(1).max(limits.scryptPasses),
  })
  .refine(({ N, r }) => 128 * N * r <= limits.scryptBytes, { error: 'asks for too much memory' })
type Cost = z.infer<typeof Cost>

const common = { version: z.literal(1), identity: Key }

const Plain = z.strictObject({ ...common, encryption: z.literal('none'), privateKey: Hash })
type Plain = z.infer<typeof Plain>

const Encrypted = z.strictObject({
  ...common,
  encryption: z.literal('scrypt'),
  cost: Cost,
  salt: hex(16),
  iv: hex(12),
  ciphertext: hex(32),
  tag: hex(16),
})
type Encrypted = z.infer<typeof Encrypted>

/** `identity` is public, readable without the passphrase, and proves that the key is the one that was written. */
const KeyFile = z.discriminatedUnion('encryption', [Plain, Encrypted])
type KeyFile = z.infer<typeof KeyFile>

export interface KeyFileOptions {
  readonly passphrase?: string | undefined
  /** How hard guessing the passphrase of a new file is; recorded in the file. */
  readonly cost?: Cost | undefined
}

/**
 * Writes a new key file and returns its wallet once the file is durable.
 * @throws ERR_CONFLICT when there is such a file already: of two processes creating one at once, one gets this.
 */
export async function createKeyFile(
  path: string,
  privateKey: Uint8Array,
  options: KeyFileOptions = {},
): Promise<KeyWallet> {
  const wallet = new KeyWallet(privateKey)
  const { passphrase, cost = defaultCost } = options
  const plain: Plain = {
    version: 1,
    identity: wallet.identity,
    encryption: 'none',
    privateKey: toHex(privateKey),
  }
  const file = passphrase === undefined ? plain : await encrypt(plain, passphrase, Cost.parse(cost))
  await writeNew(path, `${JSON.stringify(file, undefined, 2)}\n`)
  return wallet
}

/**
 * @throws ERR_NOT_FOUND without such a file; ERR_FORBIDDEN when others can read it, or the passphrase is missing,
 * wrong or has nothing to decrypt; ERR_MALFORMED when it is damaged or of a newer version of this program.
 */
export async function openKeyFile(
  path: string,
  options: Pick<KeyFileOptions, 'passphrase'> = {},
): Promise<KeyWallet> {
  const file = parse(path, await readPrivate(path))
  const { passphrase } = options
  if (file.encryption === 'none') {
    // Opening it would let its owner believe that the passphrase protects it.
    if (passphrase !== undefined) throw forbidden(`${path} is not encrypted: open it without a passphrase`)
    return walletOf(path, fromHex(file.privateKey), file.identity)
  }
  if (passphrase === undefined) throw forbidden(`${path} is encrypted: a passphrase is needed`)
  const privateKey = await decrypt(file, passphrase)
  if (privateKey === undefined)
    throw forbidden(`wrong passphrase for ${path} (or its ciphertext was altered)`)
  return walletOf(path, privateKey, file.identity)
}

/** The key of the file, which is made with a new random key when there is none. However many do this at once, all get one key. */
export async function openOrCreateKeyFile(path: string, options: KeyFileOptions = {}): Promise<KeyWallet> {
  try {
    return await openKeyFile(path, options)
  } catch (error) {
    if (!hasCode(error, 'ERR_NOT_FOUND')) throw error
  }
  try {
    return await createKeyFile(path, randomBytes(32), options)
  } catch (error) {
    if (!hasCode(error, 'ERR_CONFLICT')) throw error
  }
  return openKeyFile(path, options) // somebody else was faster
}

function parse(path: string, text: string): KeyFile {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', `${path} is damaged: not JSON`, { cause })
  }
  const newer = z.looseObject({ version: z.int().min(2) }).safeParse(value)
  if (newer.success) {
    throw new MarketError(
      'ERR_MALFORMED',
      `${path} has version ${newer.data.version}: made by a newer version of this program`,
    )
  }
  const file = KeyFile.safeParse(value)
  if (!file.success) throw new MarketError('ERR_MALFORMED', `${path} is damaged: ${firstIssue(file.error)}`)
  return file.data
}

function walletOf(path: string, privateKey: Uint8Array, identity: Key): KeyWallet {
  const wallet = new KeyWallet(privateKey)
  if (wallet.identity !== identity) {
    throw new MarketError('ERR_MALFORMED', `${path} is damaged: its key does not belong to its identity`)
  }
  return wallet
}

async function encrypt(plain: Plain, passphrase: string, cost: Cost): Promise<Encrypted> {
  if (passphrase === '') throw new MarketError('ERR_MALFORMED', 'an empty passphrase protects nothing')
  const { version, identity, privateKey } = plain
  const salt = randomBytes(16)
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', await stretch(passphrase, salt, cost), iv)
  cipher.setAAD(toUtf8(identity))
  const ciphertext = toHex(concat(cipher.update(fromHex(privateKey)), cipher.final()))
  const parts = { salt: toHex(salt), iv: toHex(iv), ciphertext, tag: toHex(cipher.getAuthTag()) }
  return { version, identity, encryption: 'scrypt', cost, ...parts }
}

/** The private key, or undefined when the passphrase is not the one that encrypted it. */
async function decrypt(file: Encrypted, passphrase: string): Promise<Uint8Array | undefined> {
  const key = await stretch(passphrase, fromHex(file.salt), file.cost)
  const decipher = createDecipheriv('aes-256-gcm', key, fromHex(file.iv), { authTagLength: 16 })
  decipher.setAAD(toUtf8(file.identity)).setAuthTag(fromHex(file.tag))
  const privateKey = decipher.update(fromHex(file.ciphertext))
  try {
    decipher.final()
  } catch {
    return undefined
  }
  return privateKey
}

/** Passphrases are compared as people see them: another keyboard may compose the same letters differently. */
function stretch(passphrase: string, salt: Uint8Array, cost: Cost): Promise<Uint8Array> {
  const maxmem = 2 * limits.scryptBytes // OpenSSL counts its own overhead too
  return new Promise((resolve, reject) => {
    scrypt(passphrase.normalize('NFKC'), salt, 32, { ...cost, maxmem }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    )
  })
}

async function readPrivate(path: string): Promise<string> {
  try {
    return await withFile(path, 'r', async (file) => {
      checkPrivate(path, await file.stat())
      return await file.readFile('utf8')
    })
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT')) throw cause
    throw new MarketError('ERR_NOT_FOUND', `there is no key file ${path}`, { cause })
  }
}

function checkPrivate(path: string, { mode, size }: { mode: number; size: number }): void {
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw forbidden(
      `others can use the key in ${path}: run chmod 600 on it, or make a new key if they may have read it`,
    )
  }
  if (size > limits.fileBytes)
    throw new MarketError('ERR_MALFORMED', `${path} is damaged: too large for a key file`)
}

/** All of `text` durably in a file that was not there before. A hard link, unlike a rename, fails when the name is taken. */
async function writeNew(path: string, text: string): Promise<void> {
  const temporary = `${path}.${toHex(randomBytes(8))}.tmp`
  try {
    await withFile(temporary, 'wx', async (file) => {
      await file.writeFile(text)
      await file.sync()
    })
    await link(temporary, path)
  } catch (cause) {
    if (!hasCode(cause, 'EEXIST')) throw cause
    throw new MarketError('ERR_CONFLICT', `the key file ${path} exists already`, { cause })
  } finally {
    await unlink(temporary).catch(() => undefined) // not made, then
  }
  // The name is durable only when the directory is; Windows has no handle for that.
  if (process.platform !== 'win32') await withFile(dirname(path), 'r', (directory) => directory.sync())
}

async function withFile<T>(path: string, flags: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, flags, 0o600)
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

const forbidden = (sentence: string): MarketError => new MarketError('ERR_FORBIDDEN', sentence)

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code
