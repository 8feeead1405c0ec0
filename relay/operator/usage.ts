/** What an operator typed cannot be carried out as it stands; the message tells him why. */
export class UsageError extends Error {
  readonly code = 'ERR_USAGE'
}
