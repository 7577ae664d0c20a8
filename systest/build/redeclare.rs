//! Writes a C file that declares again, after the headers, all that `ffi.rs` declares.
//!
//! A C compiler refuses a second declaration whose type is not compatible with that of the first.
//! `ctest` does not see such differences: of functions it compares only addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use quote::{format_ident, ToTokens};
use syn::{
    parse_quote, Abi, File, FnArg, ForeignItem, ForeignItemFn, GenericArgument, Item,
    PathArguments, ReturnType, Type, TypeBareFn, TypePath, UseTree,
};

type Result<T> = std::result::Result<T, String>;

/// What `ffi.rs` may take from the crate `libc`, and its name in C.
const LIBC: &[(&str, &str)] = &[
    ("c_char", "char"),
    ("c_int", "int"),
    ("c_long", "long"),
    ("c_uint", "unsigned int"),
    ("c_ulong", "unsigned long"),
    ("c_void", "void"),
    ("size_t", "size_t"),
    ("time_t", "time_t"),
];

/// The items of `ffi.rs`.
#[derive(Default)]
pub(crate) struct Items {
    functions: Vec<ForeignItemFn>,
    aliases: BTreeMap<String, Type>,
    opaque: BTreeSet<String>,
    constants: BTreeSet<String>,
    imports: Imports,
}

/// The C names of the types that `ffi.rs` imports, by their Rust names.
#[derive(Default)]
pub(crate) struct Imports(BTreeMap<String, String>);

pub(crate) fn include_lines(headers: &[&str]) -> String {
    headers
        .iter()
        .map(|h| format!("#include <{h}>\n"))
        .collect()
}

impl Imports {
    /// Puts types without contents in the place of the imports: `ctest` has `rustc` expand a file
    /// without its dependencies, which resolves names but looks no further.
    pub(crate) fn replace_in(source: &mut File) -> Result<Imports> {
        let mut imports = Imports::default();
        for item in &source.items {
            if let Item::Use(item) = item {
                imports.add(&item.tree)?;
            }
        }
        source.items.retain(|item| !matches!(item, Item::Use(_)));
        for name in imports.0.keys() {
            let name = format_ident!("{name}");
            source.items.push(parse_quote!(enum #name {}));
        }
        Ok(imports)
    }

    fn add(&mut self, tree: &UseTree) -> Result<()> {
        let UseTree::Path(tree) = tree else {
            return unknown("import", tree);
        };
        let origin = tree.ident.to_string();
        let trees = match &*tree.tree {
            UseTree::Group(group) => group.items.iter().collect(),
            tree => vec![tree],
        };
        for tree in trees {
            let UseTree::Name(name) = tree else {
                return unknown("import", tree);
            };
            let name = name.ident.to_string();
            let in_c = match origin.as_str() {
                "libc" => match LIBC.iter().find(|(rust, _)| *rust == name) {
                    Some((_, in_c)) => (*in_c).to_owned(),
                    None => return unknown("type of libc", &name),
                },
                "openssl_sys" => name.clone(),
                _ => return unknown("import", &origin),
            };
            self.0.insert(name, in_c);
        }
        Ok(())
    }
}

impl Items {
    /// Takes the source after expansion: without what is not there with this OpenSSL.
    pub(crate) fn new(expanded: File, imports: Imports) -> Result<Items> {
        let mut items = Items {
            imports,
            ..Items::default()
        };
        for item in expanded.items {
            items.add(item)?;
        }
        Ok(items)
    }

    /// Refuses what it does not know, lest it should go unchecked.
    fn add(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Const(item) => {
                self.constants.insert(item.ident.to_string());
            }
            Item::Type(item) => {
                self.aliases.insert(item.ident.to_string(), *item.ty);
            }
            Item::Enum(item) if self.imports.0.contains_key(&item.ident.to_string()) => {}
            Item::Enum(item) if item.variants.is_empty() => {
                self.opaque.insert(item.ident.to_string());
            }
            Item::ForeignMod(block) => {
                c_abi(Some(&block.abi))?;
                for item in block.items {
                    match item {
                        ForeignItem::Fn(function) if function.sig.variadic.is_none() => {
                            if function
                                .attrs
                                .iter()
                                .any(|a| a.path().is_ident("link_name"))
                            {
                                return unknown("link_name", &function.sig.ident);
                            }
                            self.functions.push(function);
                        }
                        other => return unknown("foreign item", &other),
                    }
                }
            }
            // The prelude, which expansion writes out.
            Item::Use(_) | Item::ExternCrate(_) => {}
            other => return unknown("item", &other),
        }
        Ok(())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let functions = self.functions.iter().map(|f| f.sig.ident.to_string());
        let others = [&self.opaque, &self.constants].into_iter().flatten();
        functions
            .chain(others.cloned())
            .chain(self.aliases.keys().cloned())
            .collect()
    }

    pub(crate) fn to_c(&self, headers: &[&str], without_c_name: &[&str]) -> Result<String> {
        let mut c = include_lines(headers);
        for name in &self.opaque {
            writeln!(c, "extern {name} *pointer_to_{name};").unwrap();
        }
        let aliases = self.aliases.iter();
        for (name, ty) in aliases.filter(|(name, _)| !without_c_name.contains(&name.as_str())) {
            // Not a second typedef: some of these are macros in C.
            let variable = format!("of_type_{name}");
            let declared = self.declare(ty, &variable, false)?;
            writeln!(c, "extern {name} {variable};\nextern {declared};").unwrap();
        }
        for function in &self.functions {
            let name = &function.sig.ident;
            let parameters = function.sig.inputs.iter().map(|input| match input {
                FnArg::Typed(parameter) => &*parameter.ty,
                FnArg::Receiver(_) => unreachable!("a foreign function has no self"),
            });
            // In parentheses, the name is not that of a macro.
            let declared = self.function(&format!("({name})"), parameters, &function.sig.output)?;
            // The use comes first: a declaration alone would do for a function that is not in C.
            writeln!(c, "typedef char uses_{name}[sizeof(&{name})];\n{declared};").unwrap();
        }
        Ok(c)
    }

    /// The C declaration of `declarator` as a `ty`, which is const if `constant`.
    fn declare(&self, ty: &Type, declarator: &str, constant: bool) -> Result<String> {
        match ty {
            Type::Ptr(pointer) => {
                let declarator = pointer_to(declarator, constant);
                self.declare(&pointer.elem, &declarator, pointer.mutability.is_none())
            }
            Type::Path(path) => {
                if let Some(optional) = option(path) {
                    let function = self.bare_fn(optional)?;
                    c_abi(function.abi.as_ref())?;
                    let declarator = format!("({})", pointer_to(declarator, constant));
                    let parameters = function.inputs.iter().map(|parameter| &parameter.ty);
                    return self.function(&declarator, parameters, &function.output);
                }
                let Some(name) = path.path.get_ident().map(ToString::to_string) else {
                    return unknown("type", path);
                };
                if let Some(ty) = self.aliases.get(&name) {
                    return self.declare(ty, declarator, constant);
                }
                let in_c = match self.imports.0.get(&name) {
                    Some(in_c) => in_c,
                    None if self.opaque.contains(&name) => &name,
                    None => return unknown("type", path),
                };
                let qualifier = if constant { "const " } else { "" };
                Ok(format!("{qualifier}{in_c} {declarator}"))
            }
            // Among others a function pointer that is no Option, while any in C may be null.
            other => unknown("type", other),
        }
    }

    fn function<'a>(
        &self,
        declarator: &str,
        parameters: impl Iterator<Item = &'a Type>,
        output: &ReturnType,
    ) -> Result<String> {
        let parameters = parameters
            .map(|ty| self.declare(ty, "", false))
            .collect::<Result<Vec<_>>>()?;
        let parameters = match parameters.as_slice() {
            [] => "void".to_owned(),
            some => some.join(", "),
        };
        let declarator = format!("{declarator}({parameters})");
        match output {
            ReturnType::Default => Ok(format!("void {declarator}")),
            ReturnType::Type(_, ty) => self.declare(ty, &declarator, false),
        }
    }

    fn bare_fn<'a>(&'a self, ty: &'a Type) -> Result<&'a TypeBareFn> {
        match ty {
            Type::BareFn(function) if function.variadic.is_none() => Ok(function),
            Type::Path(path) => match path.path.get_ident() {
                Some(name) => match self.aliases.get(&name.to_string()) {
                    Some(ty) => self.bare_fn(ty),
                    None => unknown("Option of", path),
                },
                None => unknown("Option of", path),
            },
            other => unknown("Option of", other),
        }
    }
}

fn pointer_to(declarator: &str, constant: bool) -> String {
    let qualifier = if constant { "const " } else { "" };
    format!("*{qualifier}{declarator}")
}

/// The `T` of `Option<T>`.
fn option(path: &TypePath) -> Option<&Type> {
    let last = path.path.segments.last()?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if last.ident == "Option" => {
            match arguments.args.first()? {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            }
        }
        _ => None,
    }
}

fn c_abi(abi: Option<&Abi>) -> Result<()> {
    match abi.map(|abi| &abi.name) {
        Some(Some(name)) if name.value() == "C" => Ok(()),
        other => unknown("ABI", &other),
    }
}

fn unknown<T>(what: &str, found: &impl ToTokens) -> Result<T> {
    Err(format!(
        "ffi.rs has a kind of {what} that systest does not know: {}",
        found.to_token_stream()
    ))
}
