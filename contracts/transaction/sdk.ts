/** The one place where @bsv/sdk is more than types: most runs of a program never need it, and loading it takes a while. */
let loaded: Promise<typeof import('@bsv/sdk')> | undefined

export function loadSdk(): Promise<typeof import('@bsv/sdk')> {
  loaded ??= import('@bsv/sdk')
  return loaded
}
