//! Nothing is built from here. This package names Kryoptic and its features, and its lock file their versions;
//! `build.sh` builds the dependency `kryoptic`, whose library is the PKCS#11 module.
