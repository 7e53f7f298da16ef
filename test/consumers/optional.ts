import ts from 'typescript'

/**
 * Optional properties that an importer of the entry points can meet, and whose type lacks `undefined`: there
 * `{ signal: maybeUndefined }` is an error in a project with exactOptionalPropertyTypes.
 */
export function lackingUndefined(entries: readonly string[], options: ts.CompilerOptions): string[] {
  const program = ts.createProgram(entries, {
    ...options,
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
  })
  const checker = program.getTypeChecker()
  const found = new Set<string>()
  const visited = new Set<ts.Node>()

  const visitSymbol = (symbol: ts.Symbol | undefined): void => {
    if (!symbol) return
    const original = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    for (const declaration of original.declarations ?? []) {
      const source = declaration.getSourceFile()
      if (!program.isSourceFileFromExternalLibrary(source) && !program.isSourceFileDefaultLibrary(source)) {
        visit(declaration)
      }
    }
  }
  const visit = (node: ts.Node): void => {
    if (visited.has(node) || ts.isBlock(node)) return
    visited.add(node)
    if (ts.isIdentifier(node)) return visitSymbol(checker.getSymbolAtLocation(node))
    if (ts.isPropertySignature(node) && node.questionToken && node.type) {
      const type = checker.getTypeFromTypeNode(node.type)
      if (!checker.isTypeAssignableTo(checker.getUndefinedType(), type)) found.add(named(node))
    }
    ts.forEachChild(node, visit)
  }

  for (const entry of entries) {
    const source = program.getSourceFile(entry)
    const module = source && checker.getSymbolAtLocation(source)
    if (!module) throw new Error(`${entry} is no module`)
    checker.getExportsOfModule(module).forEach(visitSymbol)
  }
  return [...found].sort()
}

function named(property: ts.PropertySignature): string {
  const owner = ts.findAncestor(
    property,
    (node) => ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isFunctionDeclaration(node),
  ) as ts.NamedDeclaration | undefined
  return `${owner?.name?.getText() ?? 'a type'}.${property.name.getText()}`
}
